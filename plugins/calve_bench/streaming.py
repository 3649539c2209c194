"""Throughput of streaming recognition of noise by a random model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calve.common.measuring import Contender
from calve.common.progress import NO_PROGRESS, Progress
from calve.common.torch_threads import torch_threads
from calve.data.audio import Audio
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.protocols import Search, StreamingSession
from calve.services import (
    ModelBuilder,
    StreamDecoder,
    StreamingRun,
    StreamSearch,
    make_search,
    registry,
)
from calve_bench.harness import Clock, TimedSession, measure
from calve_bench.searches import EMITTING
from calve_transducer.runtime import TorchRuntime, TorchSession

__all__ = ["StreamingRow", "benchmark_streaming"]

Float32Array = NDArray[np.float32]

_LARGEST_BIAS = 50.0
_HALVINGS = 20


@dataclass(frozen=True)
class StreamingRow:
    """All runs with one number of streams.

    Attributes:
      streams: Number of parallel streams.
      throughput: Seconds of audio decoded per second, median over the runs.
      fastest: Throughput of the fastest run.
      step_p50_ms: Median time of a chunk, in milliseconds, over the steps of all runs.
      encoder: Share of the time in the encoder, median over the runs.
      outside: Share of the time outside of encoder, decoder and joiner.
      emitting: Number of symbols per frame.
    """

    streams: int
    throughput: float
    fastest: float
    step_p50_ms: float
    encoder: float
    outside: float
    emitting: float


def benchmark_streaming(
    recipe: str,
    options: Mapping[str, Mapping[str, Any]],
    *,
    streams: Sequence[int] = (1, 50),
    method: str = "greedy_search",
    seconds: float = 10.0,
    num_threads: int = 1,
    runs: int = 3,
    progress: Progress = NO_PROGRESS,
) -> list[StreamingRow]:
    """Stream noise through a new model on the torch runtime.

    Reading audio and computing features is not counted. The weights are random; the bias of the
    blank is chosen so that greedy search emits a symbol in about every sixth frame.

    Args:
      recipe: Name of the recipe.
      options: Options of its encoder and model, by table.
      streams: Numbers of streams to measure; each stream is one recording.
      method: Decoding method.
      seconds: Length of each recording.
      num_threads: Threads of torch.
      runs: Turns; each number of streams runs once in each, after one that is not counted.
      progress: Where to say how far it is.

    Raises:
      ConfigError: if the options are impossible, the model cannot stream, or the method needs more
        than a model.
      PluginError: if the recipe or the method is unknown.
    """
    registry().decoding_methods.get(method)
    builder = ModelBuilder(recipe)
    with torch_threads(num_threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = builder.build(builder.resolve(options)).eval()
        session = TorchRuntime.open(model, num_threads=num_threads)
        make_search(method, session)  # Raises an error if the method needs more than a model.
        _let_blanks_win(session)
    subjects = [_Streams(session, method, count, seconds) for count in streams]
    contenders = [Contender(f"{one.count} streams", one.run) for one in subjects]
    measured = measure(contenders, runs, num_threads=num_threads, progress=progress)
    return [one.row(found) for one, found in zip(subjects, measured, strict=True)]


def _noise(count: int, seconds: float, sample_rate: int) -> Float32Array:
    shape = (count, round(seconds * sample_rate))
    return 0.1 * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@torch.no_grad()
def _let_blanks_win(session: TorchSession) -> None:
    """Change the blank's bias so that greedy search finds symbols in `EMITTING` of the frames."""
    config = FeatureConfig(num_mel_bins=session.feature_dim)
    frames = _encode(
        session, [compute_fbank(one, config) for one in _noise(4, 10.0, config.sample_rate)]
    )
    lowest, highest = -_LARGEST_BIAS, _LARGEST_BIAS
    for _ in range(_HALVINGS):
        penalty = (lowest + highest) / 2
        search: Search = make_search("greedy_search", session, blank_penalty=penalty)
        streams = [search.start() for _ in frames]
        search.advance(streams, frames)
        found = sum(len(search.result(stream).tokens) for stream in streams)
        if found > EMITTING * sum(map(len, frames)):
            highest = penalty
        else:
            lowest = penalty
    session.model.joiner.output_linear.bias[session.blank_id] -= penalty


def _encode(session: StreamingSession, features: Sequence[Float32Array]) -> list[Float32Array]:
    """Return the encoder frames of recordings of equal length."""
    segment, shift = session.geometry.segment, session.geometry.shift
    stacked, states = np.stack(features), session.init_states(len(features))
    chunks = []
    for start in range(0, stacked.shape[1] - segment + 1, shift):
        chunk = np.ascontiguousarray(stacked[:, start : start + segment])
        encoder_out, states = session.encode_chunk(chunk, states)
        chunks.append(encoder_out)
    return list(np.concatenate(chunks, axis=1))


@dataclass(frozen=True)
class _StreamingMeasurement:
    """One run, with the shares of its time in the encoder and outside of the networks."""

    run: StreamingRun
    encoder: float
    outside: float


class _Streams:
    """Recordings that are streamed in parallel."""

    def __init__(
        self, session: StreamingSession, method: str, streams: int, seconds: float
    ) -> None:
        self._session = session
        self._method = method
        self.count = streams
        # Each symbol is a word, so that they can be counted.
        words = (f"▁{number}" for number in range(1, session.vocab_size))
        self._symbols = SymbolTable(("<blk>", *words))
        sample_rate = FeatureConfig(num_mel_bins=session.feature_dim).sample_rate
        self._recordings = [
            Utterance.of_audio(str(number), Audio(samples, sample_rate, seconds), text="")
            for number, samples in enumerate(_noise(streams, seconds, sample_rate))
        ]

    def run(self) -> _StreamingMeasurement:
        """Stream once, with a new search object, so that its caches are empty."""
        encoder, others = Clock(), Clock()
        session: Any = TimedSession(self._session, others)
        session.encode_chunk = encoder.of(self._session.encode_chunk)
        search: Search = make_search(self._method, session)
        decoder = StreamDecoder(
            session,
            self._symbols,
            {self._method: StreamSearch(search)},
            num_streams=self.count,
            tail_padding_frames=0,
        )
        run = decoder.decode(self._recordings)[self._method]
        return _StreamingMeasurement(
            run,
            encoder=encoder.seconds / run.busy_seconds,
            outside=1 - (encoder.seconds + others.seconds) / run.busy_seconds,
        )

    def row(self, measured: Sequence[_StreamingMeasurement]) -> StreamingRow:
        """Summarize all runs."""
        runs = [one.run for one in measured]
        throughput = [run.audio_seconds / run.busy_seconds for run in runs]
        frames = runs[0].audio_seconds * 1000 / self._session.geometry.frame_ms
        symbols = sum(len(one.hypothesis.split()) for one in runs[0].decoded.utterances)
        return StreamingRow(
            streams=self.count,
            throughput=median(throughput),
            fastest=max(throughput),
            step_p50_ms=1000 * median(one for run in runs for one in run.step_seconds),
            encoder=median(one.encoder for one in measured),
            outside=median(one.outside for one in measured),
            emitting=symbols / frames,
        )
