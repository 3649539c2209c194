"""Encoders of whole utterances: with full context, or masked as in a stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calve.data.features import (
    PADDING,
    FeatureConfig,
    compute_fbank,
    silent_frame,
    silent_tail,
)
from calve.data.geometry import FLUSH_FRAMES, tail_padding
from calve.data.utterances import Utterance
from calve.protocols import OfflineSession

__all__ = ["SimulatedStreaming", "WholeUtterances", "stack_features"]

Float32Array = NDArray[np.float32]


class WholeUtterances:
    """An encoder with full context, as in icefall's ``decode.py``.

    Args:
      session: The networks.
      features: The features that the model was trained on; by default sherpa-ncnn's, with the
        session's dimension.
    """

    def __init__(self, session: OfflineSession, features: FeatureConfig | None = None) -> None:
        self.initial_symbol = session.offline_initial_symbol
        self._session = session
        self._config = features or FeatureConfig(num_mel_bins=session.feature_dim)

    def features(self, utterance: Utterance) -> Float32Array:
        """(T, C)."""
        return utterance.features(self._config)

    def encode(self, matrices: Sequence[Float32Array]) -> list[Float32Array]:
        """Return encoder_out (T', D) of each utterance; T' is 0 if the utterance is too short."""
        geometry = self._session.geometry
        padding = 0 if geometry.left_context else FLUSH_FRAMES
        lengths = np.array([len(matrix) + padding for matrix in matrices])
        # The shortest input of any encoder.
        longest = max(lengths.max(), geometry.overlap + geometry.subsampling_factor)
        features = stack_features(matrices, longest, PADDING)
        encoder_out, output_lengths = self._session.encode(features, lengths)
        return _valid(encoder_out, output_lengths.tolist())


class SimulatedStreaming:
    """An encoder with the context of a stream that encodes all frames at once.

    Args:
      session: The networks.
      features: As in `WholeUtterances`.
      tail_padding_frames: Silent frames after each utterance; derived from the geometry by default.
        Streaming derives them from the model's own geometry, for any chunk length.
    """

    def __init__(
        self,
        session: OfflineSession,
        features: FeatureConfig | None = None,
        tail_padding_frames: int | None = None,
    ) -> None:
        self.initial_symbol = session.initial_symbol
        self._session = session
        self._config = features or FeatureConfig(num_mel_bins=session.feature_dim)
        if tail_padding_frames is None:
            tail_padding_frames = tail_padding(session.geometry)
        self._tail = silent_tail(tail_padding_frames, self._config)
        self._silence = silent_frame(self._config)

    def features(self, utterance: Utterance) -> Float32Array:
        """Return (T, C), including the silence after the recording."""
        samples = utterance.audio(self._config.sample_rate).samples
        return compute_fbank(np.concatenate([samples, self._tail]), self._config)

    def encode(self, matrices: Sequence[Float32Array]) -> list[Float32Array]:
        """Return encoder_out (T', D) of each utterance."""
        geometry = self._session.geometry
        frames = np.array([len(matrix) for matrix in matrices])
        steps = np.ceil((frames - geometry.overlap) / geometry.shift).astype(np.int64)
        lengths = steps * geometry.shift + geometry.overlap
        features = stack_features(matrices, lengths.max(), self._silence)
        encoder_out, _ = self._session.encode_in_chunks(features, lengths)
        return _valid(encoder_out, [geometry.frames_in(number) for number in frames.tolist()])


def _valid(encoder_out: Float32Array, lengths: Sequence[int]) -> list[Float32Array]:
    return [rows[: max(0, length)] for rows, length in zip(encoder_out, lengths, strict=True)]


def stack_features(
    matrices: Sequence[Float32Array], length: int, padding: float | Float32Array
) -> Float32Array:
    """Return (N, length, C), each matrix followed by ``padding``."""
    shape = (len(matrices), length, matrices[0].shape[1])
    stacked = np.empty(shape, dtype=np.float32)
    stacked[:] = padding
    for row, matrix in zip(stacked, matrices, strict=True):
        row[: len(matrix)] = matrix
    return stacked
