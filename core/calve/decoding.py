"""Decoding a corpus, for its word error rate."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from calve.audio import Audio
from calve.bundle import FLUSH_FRAMES, Bundle, tail_padding
from calve.errors import DataError
from calve.features import FeatureConfig, compute_fbank
from calve.geometry import StreamingGeometry
from calve.protocols import OfflineSession, Search, Session
from calve.registry import registry
from calve.searching import DEFAULT_SEARCH, make_search
from calve.specs import ClientSpec
from calve.tokens import SymbolTable
from calve.transcription import silent_frame, silent_tail

__all__ = [
    "Utterance",
    "decode_chunks",
    "decode_utterances",
    "read_utterances",
    "transcribe_with_client",
]

Float32Array = NDArray[np.float32]

_LOG_EPSILON = math.log(1e-10)
"""With which icefall pads batches of features."""

_BATCH = 32


@dataclass(frozen=True)
class Utterance:
    """One recording of a corpus and what is said in it."""

    name: str
    audio: Audio
    text: str


def read_utterances(corpus: str, data_dir: Path, split: str) -> list[Utterance]:
    """The utterances of a prepared corpus's split, by name.

    Raises:
      DataError: if the corpus has no such split, or it is empty.
      PluginError: if no plugin provides the corpus.
    """
    dataset = registry().datasets.get(corpus)
    if split not in dataset.splits:
        raise DataError(
            f"corpus {corpus} has no split {split!r}", fix=f"it has {', '.join(dataset.splits)}"
        )
    utterances = [_utterance(cut) for cut in dataset.cuts.load()(data_dir, split)]
    if not utterances:
        raise DataError(f"split {split} of corpus {corpus} is empty", where=data_dir)
    return sorted(utterances, key=lambda utterance: utterance.name)


def _utterance(cut: Any) -> Utterance:
    samples = np.ascontiguousarray(cut.load_audio()[0], dtype=np.float32)
    text = " ".join(supervision.text for supervision in cut.supervisions)
    return Utterance(cut.id, Audio(samples, cut.sampling_rate, cut.duration), text)


def decode_utterances(
    session: OfflineSession,
    symbols: SymbolTable,
    utterances: Sequence[Utterance],
    features: FeatureConfig,
) -> list[str]:
    """Texts of whole utterances, as icefall's ``decode.py`` finds them with greedy search.

    Each utterance is followed by `calve.bundle.FLUSH_FRAMES` padding frames.
    """
    search = make_search(
        DEFAULT_SEARCH,
        session,
        symbols=symbols,
        initial_symbol=session.offline_initial_symbol,
    )
    texts: list[str] = []
    for batch in _batches(utterances):
        matrices = [compute_fbank(utterance.audio.samples, features) for utterance in batch]
        lengths = np.array([len(matrix) + FLUSH_FRAMES for matrix in matrices])
        encoder_out, output_lengths = session.encode(
            _stack(matrices, lengths.max(), _LOG_EPSILON), lengths
        )
        frames = [one[:length] for one, length in zip(encoder_out, output_lengths, strict=True)]
        texts.extend(_texts(search, symbols, frames))
    return texts


def decode_chunks(
    session: Session,
    symbols: SymbolTable,
    utterances: Sequence[Utterance],
    features: FeatureConfig,
    geometry: StreamingGeometry,
) -> list[str]:
    """Texts found chunk by chunk, many utterances side by side.

    The result is that of `calve.transcription.StreamingTranscriber`.
    """
    search = make_search(DEFAULT_SEARCH, session, symbols=symbols)
    texts: list[str] = []
    tail = silent_tail(tail_padding(session.geometry), features)
    for batch in _batches(utterances):
        padded = [np.concatenate([utterance.audio.samples, tail]) for utterance in batch]
        matrices = [compute_fbank(samples, features) for samples in padded]
        encoder_out = _encode_chunks(session, matrices, geometry, silent_frame(features))
        lengths = (
            (len(matrix) - geometry.overlap) // geometry.subsampling_factor for matrix in matrices
        )
        frames = [one[:length] for one, length in zip(encoder_out, lengths, strict=True)]
        texts.extend(_texts(search, symbols, frames))
    return texts


def transcribe_with_client(
    client: ClientSpec, bundle: Bundle, utterances: Sequence[Utterance], *, num_threads: int = 1
) -> list[str]:
    """Texts that a real client finds, running the bundle in a child process.

    Raises:
      BundleError: if the client fails on the bundle.
    """
    with tempfile.TemporaryDirectory(prefix="calve-decode-") as folder:
        paths = []
        for number, utterance in enumerate(utterances):
            paths.append(Path(folder) / f"{number}.wav")
            audio = utterance.audio
            soundfile.write(paths[-1], audio.samples, audio.sample_rate, subtype="PCM_16")
        results = client.transcribe.load()(
            bundle.path, paths, num_threads=num_threads, tail_seconds=bundle.tail_seconds
        )
    return [result.text.strip() for result in results]


def _encode_chunks(
    session: Session,
    matrices: Sequence[Float32Array],
    geometry: StreamingGeometry,
    padding: Float32Array,
) -> Float32Array:
    """encoder_out (N, T', D) of N streams, each padded until its last segment is whole."""
    longest = max(map(len, matrices))
    steps = math.ceil((longest - geometry.overlap) / geometry.shift)
    features = _stack(matrices, steps * geometry.shift + geometry.overlap, padding)
    states = session.init_states(len(matrices))
    chunks = []
    for step in range(steps):
        start = step * geometry.shift
        segment = np.ascontiguousarray(features[:, start : start + geometry.segment])
        encoder_out, states = session.encode_chunk(segment, states)
        chunks.append(encoder_out)
    return np.concatenate(chunks, axis=1)


def _texts(search: Search, symbols: SymbolTable, encoder_out: Sequence[Float32Array]) -> list[str]:
    streams = [search.start() for _ in encoder_out]
    search.advance(streams, encoder_out)
    return [symbols.text(search.result(stream).tokens) for stream in streams]


def _batches(utterances: Sequence[Utterance]) -> Iterator[Sequence[Utterance]]:
    for start in range(0, len(utterances), _BATCH):
        yield utterances[start : start + _BATCH]


def _stack(matrices: Sequence[Float32Array], length: int, padding: Any) -> Float32Array:
    """(N, length, C), each matrix followed by ``padding``."""
    shape = (len(matrices), length, matrices[0].shape[1])
    stacked = np.empty(shape, dtype=np.float32)
    stacked[:] = padding
    for row, matrix in zip(stacked, matrices, strict=True):
        row[: len(matrix)] = matrix
    return stacked
