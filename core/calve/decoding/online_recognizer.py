"""Transcription of recordings step by step, on any runtime."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from os import PathLike, fspath

import numpy as np
from numpy.typing import NDArray

from calve.bundles.bundle import Bundle
from calve.data.audio import Audio, AudioReader
from calve.data.features import FeatureConfig, silent_tail
from calve.data.tokens import SymbolTable
from calve.decoding.decoding_methods import DecodingMethod
from calve.decoding.online_stream import OnlineStream
from calve.decoding.transcript import Recognition, Transcript
from calve.errors import CalveError
from calve.protocols import StreamingSession

__all__ = ["OnlineRecognizer"]

Float32Array = NDArray[np.float32]

_LONGEST_WARM_UP = 3000
"""Feature frames of a step; that a longer one is the first does not matter to its time."""


class OnlineRecognizer:
    """Transcribes recordings, one after another, with one loaded model.

    The RTF of a transcript does not include the first use of a model, which compiles code.

    Args:
      session: The networks.
      symbols: The model's symbol table.
      method: The decoding method; by default that of the installation.
      features: The features that the model was trained on; by default sherpa-ncnn's, with the
        session's dimension.
      tail_padding_frames: Silent frames to append; derived from the geometry by default.
      chunk_ms: Milliseconds of audio per encoder step; the model's own by default.

    Raises:
      ConfigError: if the model has no step of ``chunk_ms``, or an option is invalid.
      PluginError: if no plugin provides the decoding method.
    """

    def __init__(
        self,
        session: StreamingSession,
        symbols: SymbolTable,
        method: DecodingMethod | None = None,
        *,
        features: FeatureConfig | None = None,
        tail_padding_frames: int | None = None,
        chunk_ms: int | None = None,
    ) -> None:
        geometry = session.geometry
        self.session = session
        self.symbols = symbols
        self.features = features or FeatureConfig(num_mel_bins=session.feature_dim)
        self.geometry = geometry if chunk_ms is None else geometry.with_chunk_ms(chunk_ms)
        self._tail_padding_frames = tail_padding_frames
        self._search = (method or DecodingMethod.default()).search(session, symbols)
        self._is_warm = False

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        method: DecodingMethod | None = None,
        *,
        chunk_ms: int | None = None,
        num_threads: int = 1,
    ) -> OnlineRecognizer:
        """Load a bundle's networks, to run on ``num_threads`` CPU threads.

        Raises:
          BundleError: if the networks cannot be loaded, or the bundle does not stream.
          ConfigError, PluginError: as the constructor.
        """
        return cls(
            bundle.open_streaming_session(num_threads=num_threads),
            bundle.symbols,
            method,
            features=bundle.manifest.features,
            tail_padding_frames=bundle.manifest.tail_padding_frames,
            chunk_ms=chunk_ms,
        )

    def stream(self) -> OnlineStream:
        """Create a stream on the loaded model."""
        return OnlineStream(
            self.session,
            self.symbols,
            self._search,
            features=self.features,
            geometry=self.geometry,
            tail_padding_frames=self._tail_padding_frames,
        )

    def warm_up(self) -> None:
        """Take one step on silence unless a step was taken, so that no measured step is the first.

        In the first step searches compile their loops and runtimes select theirs, which takes up to
        seconds. `transcribe` and `transcribe_audio` call this before they measure.
        """
        if self._is_warm or self.session.geometry.segment > _LONGEST_WARM_UP:
            return
        self._is_warm = True
        stream = OnlineStream(
            self.session, self.symbols, self._search, features=self.features, tail_padding_frames=0
        )
        # `transcribe` reports the error with the name of the recording.
        with suppress(CalveError):
            stream.accept(silent_tail(self.session.geometry.segment + 1, self.features))
            stream.finish()

    def transcribe(self, path: str | PathLike[str]) -> Transcript:
        """Transcribe one file, which is read and decoded block by block.

        The memory does not depend on the length of the recording, unless the decoding method stores
        consumed frames.

        Raises:
          AudioError: if the recording cannot be read.
          DataError: if the outputs of the networks are NaN.
        """
        with AudioReader(path, self.features.sample_rate) as audio:
            recognized, seconds = self._recognize(audio)
            return Transcript.of(recognized, fspath(path), audio.duration, seconds, audio.notes)

    def transcribe_audio(self, audio: Audio, path: str = "") -> Transcript:
        """Transcribe samples in memory; ``path`` is the label of the transcript."""
        recognized, seconds = self._recognize([audio.samples])
        return Transcript.of(recognized, path, audio.duration, seconds, audio.notes)

    def _recognize(self, blocks: Iterable[Float32Array]) -> tuple[Recognition, float]:
        """Return the result and the seconds of decoding, without reading."""
        self.warm_up()
        stream, seconds = self.stream(), 0.0
        for samples in blocks:
            started = time.perf_counter()
            stream.accept(samples)
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        recognized = stream.finish()
        return recognized, seconds + time.perf_counter() - started
