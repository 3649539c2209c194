"""Decoding a corpus in whole utterances: offline, or with streaming simulated by masks."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from calve.bundles.bundle import Bundle
from calve.common.progress import NO_PROGRESS, Progress
from calve.data.audio import read_audio
from calve.data.features import PADDING, FeatureConfig, compute_fbank
from calve.data.geometry import FLUSH_FRAMES, StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.data.utterances import Failure, Utterance, batches_by_duration, load_each
from calve.decoding.decoding_methods import GREEDY, DecodingMethod
from calve.decoding.transcription import (
    Transcript,
    recognition,
    silent_frame,
    silent_tail,
)
from calve.errors import AudioError, CalveError, DataError
from calve.protocols import Hypothesis, OfflineSession, Search
from calve.registry.specs import ClientSpec
from calve.scoring.error_rates import DecodedUtterance, Score, score

__all__ = [
    "MAX_DURATION",
    "WHOLE_UTTERANCES",
    "Decoded",
    "OfflineRecognizer",
    "WholeUtterances",
    "decode_offline",
    "stack_features",
    "transcribe_with_client",
]

Float32Array = NDArray[np.float32]

MAX_DURATION = 600.0
"""Seconds in a batch, icefall's value."""

WHOLE_UTTERANCES = "whole utterances"
"""How an encoder sees the audio that does not stream, in tables and messages."""


@dataclass
class Decoded:
    """What was made of some utterances.

    Attributes:
      utterances: Those that were decoded.
      failures: Those that were not, and why.
    """

    utterances: list[DecodedUtterance] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def score(self, unit: str) -> Score:
        """The errors in what was decoded, in the order of the utterances' names."""
        return score(sorted(self.utterances, key=lambda one: one.name), unit)

    def add(
        self,
        utterance: Utterance,
        outcome: Hypothesis | CalveError,
        symbols: SymbolTable,
        geometry: StreamingGeometry,
    ) -> None:
        """Take in a hypothesis, or the error that there is instead."""
        if isinstance(outcome, CalveError):
            self.failures.append(Failure(utterance.name, outcome.what))
            return
        found = recognition(outcome, symbols, geometry)
        reference = utterance.text or ""
        self.utterances.append(
            DecodedUtterance(utterance.name, reference, found.text, found.word_timestamps)
        )


def decode_offline(
    session: OfflineSession,
    symbols: SymbolTable,
    utterances: Iterable[Utterance],
    methods: Sequence[DecodingMethod],
    *,
    simulate_streaming: bool = False,
    max_duration: float = MAX_DURATION,
    progress: Progress = NO_PROGRESS,
) -> dict[str, Decoded]:
    """Decode whole utterances, encoding each once for all methods.

    This follows icefall's ``decode.py``: a recurrent encoder gets `FLUSH_FRAMES` padding frames
    after each utterance, and the search starts as in training. Simulated streaming does at once
    what `calve.decoding.online` does step by step: the same silence after each utterance, the same
    chunks and the same start of the search. An utterance that cannot be read or decoded does not
    stop the others.

    Args:
      session: The networks.
      symbols: Their symbol table.
      utterances: In any order.
      methods: Decoding methods.
      simulate_streaming: Whether attention is masked to the chunks of ``session.geometry``.
      max_duration: Seconds in a batch, padding included.
      progress: Is advanced by one for each utterance.

    Returns:
      What was found, by the method's key.

    Raises:
      ConfigError, PluginError: if a method cannot be used.
    """
    view = _Stream(session) if simulate_streaming else WholeUtterances(session)
    searches = [method.search(session, symbols, view.initial_symbol) for method in methods]
    results = [Decoded() for _ in methods]
    for batch in batches_by_duration(utterances, max_duration):
        loaded, failures = load_each(batch, view.features)
        encoder_out = view.encode([matrix for _, matrix in loaded]) if loaded else []
        for method, search, decoded in zip(methods, searches, results, strict=True):
            told = [
                {"ref_text": utterance.text} if method.needs_reference else {}
                for utterance, _ in loaded
            ]
            outcomes = _hypotheses(search, encoder_out, told)
            decoded.failures.extend(failures)
            for (utterance, _), outcome in zip(loaded, outcomes, strict=True):
                decoded.add(utterance, outcome, symbols, session.geometry)
        progress.advance(len(batch))
    return {method.key: decoded for method, decoded in zip(methods, results, strict=True)}


class OfflineRecognizer:
    """Transcribes recordings, each at once, as `decode_offline` decodes utterances.

    Args:
      session: The networks.
      symbols: Their symbol table.
      method: The decoding method.
      simulate_streaming: Whether attention is masked to the chunks of ``session.geometry``.

    Raises:
      ConfigError, PluginError: if the method cannot be used.
    """

    def __init__(
        self,
        session: OfflineSession,
        symbols: SymbolTable,
        method: DecodingMethod = GREEDY,
        *,
        simulate_streaming: bool = False,
    ) -> None:
        self._view = _Stream(session) if simulate_streaming else WholeUtterances(session)
        self._search = method.search(session, symbols, self._view.initial_symbol)
        self._symbols = symbols
        self._geometry = session.geometry
        self._sample_rate = FeatureConfig(num_mel_bins=session.feature_dim).sample_rate

    def transcribe(self, path: str | PathLike[str]) -> Transcript:
        """Transcribe one file.

        Raises:
          AudioError: if the recording cannot be read, or is shorter than a feature frame.
          DataError: if the networks answer with NaN.
        """
        audio = read_audio(path, self._sample_rate)
        started = time.perf_counter()
        try:
            features = self._view.features(Utterance.of_audio(fspath(path), audio))
        except AudioError as error:
            raise AudioError(error.what, where=path, fix=error.fix) from error
        (outcome,) = _hypotheses(self._search, self._view.encode([features]), [{}])
        if isinstance(outcome, CalveError):
            raise outcome
        found = recognition(outcome, self._symbols, self._geometry)
        return Transcript.of(found, audio, fspath(path), time.perf_counter() - started)


class WholeUtterances:
    """An encoder that sees whole utterances, as in icefall's ``decode.py``.

    Args:
      session: The networks.
    """

    def __init__(self, session: OfflineSession) -> None:
        self.initial_symbol = session.offline_initial_symbol
        self._session = session
        self._config = FeatureConfig(num_mel_bins=session.feature_dim)

    def features(self, utterance: Utterance) -> Float32Array:
        """(T, C)."""
        return utterance.features(self._config)

    def encode(self, matrices: Sequence[Float32Array]) -> list[Float32Array]:
        """encoder_out (T', D) of each utterance; T' is 0 for one that is too short."""
        geometry = self._session.geometry
        padding = 0 if geometry.left_context else FLUSH_FRAMES
        lengths = np.array([len(matrix) + padding for matrix in matrices])
        # No encoder can work on less than this.
        longest = max(lengths.max(), geometry.overlap + geometry.subsampling_factor)
        features = stack_features(matrices, longest, PADDING)
        encoder_out, output_lengths = self._session.encode(features, lengths)
        return _valid(encoder_out, output_lengths.tolist())


class _Stream:
    """An encoder that sees what a stream sees, but all of it at once."""

    def __init__(self, session: OfflineSession) -> None:
        self.initial_symbol = session.initial_symbol
        self._session = session
        self._config = FeatureConfig(num_mel_bins=session.feature_dim)
        self._tail = silent_tail(tail_padding(session.geometry), self._config)
        self._silence = silent_frame(self._config)

    def features(self, utterance: Utterance) -> Float32Array:
        """(T, C), those of the silence behind the recording included."""
        samples = utterance.audio(self._config.sample_rate).samples
        return compute_fbank(np.concatenate([samples, self._tail]), self._config)

    def encode(self, matrices: Sequence[Float32Array]) -> list[Float32Array]:
        """encoder_out (T', D) of each utterance."""
        geometry = self._session.geometry
        frames = np.array([len(matrix) for matrix in matrices])
        steps = np.ceil((frames - geometry.overlap) / geometry.shift).astype(np.int64)
        lengths = steps * geometry.shift + geometry.overlap
        features = stack_features(matrices, lengths.max(), self._silence)
        encoder_out, _ = self._session.encode_in_chunks(features, lengths)
        return _valid(encoder_out, [geometry.frames_in(number) for number in frames.tolist()])


def _valid(encoder_out: Float32Array, lengths: Sequence[int]) -> list[Float32Array]:
    return [rows[: max(0, length)] for rows, length in zip(encoder_out, lengths, strict=True)]


def transcribe_with_client(
    client: ClientSpec, bundle: Bundle, utterances: Sequence[Utterance], *, num_threads: int = 1
) -> Decoded:
    """What a real client makes of utterances, running the bundle in a child process.

    Raises:
      BundleError: if the client fails on the bundle.
    """
    sample_rate = bundle.manifest.features.sample_rate
    with tempfile.TemporaryDirectory(prefix="calve-decode-") as folder:
        numbers = count()

        def write(utterance: Utterance) -> Path:
            path = Path(folder) / f"{next(numbers)}.wav"
            audio = utterance.audio(sample_rate)
            soundfile.write(path, audio.samples, audio.sample_rate, subtype="PCM_16")
            return path

        written, failures = load_each(utterances, write)
        results = client.transcribe.load()(
            bundle.path,
            [path for _, path in written],
            num_threads=num_threads,
            tail_seconds=bundle.tail_seconds,
        )
    decoded = [
        DecodedUtterance(utterance.name, utterance.text or "", result.text.strip())
        for (utterance, _), result in zip(written, results, strict=True)
    ]
    return Decoded(decoded, failures)


def stack_features(
    matrices: Sequence[Float32Array], length: int, padding: float | Float32Array
) -> Float32Array:
    """(N, length, C), each matrix followed by ``padding``."""
    shape = (len(matrices), length, matrices[0].shape[1])
    stacked = np.empty(shape, dtype=np.float32)
    stacked[:] = padding
    for row, matrix in zip(stacked, matrices, strict=True):
        row[: len(matrix)] = matrix
    return stacked


def _hypotheses(
    search: Search, encoder_out: Sequence[Float32Array], told: Sequence[Mapping[str, Any]]
) -> list[Hypothesis | CalveError]:
    """What each utterance says; if the search fails on the batch, each is tried alone.

    Args:
      search: The decoding method.
      encoder_out: (T', D) of each utterance.
      told: What the method is told of each.
    """
    if not encoder_out:
        return []
    streams = [search.start(**of_utterance) for of_utterance in told]
    try:
        search.advance(streams, encoder_out)
        found = [search.result(stream) for stream in streams]
        if not all(math.isfinite(one.score) for one in found):
            raise DataError("the score is NaN or infinite")
    except CalveError as error:
        if len(encoder_out) == 1:
            return [error]
        each = zip(encoder_out, told, strict=True)
        return [outcome for one, its in each for outcome in _hypotheses(search, [one], [its])]
    return list(found)
