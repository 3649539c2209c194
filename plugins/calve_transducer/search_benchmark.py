"""Decoding methods on the same made-up encoder output, in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calve.common.progress import NO_PROGRESS, Progress
from calve.decoding.search import make_search
from calve.protocols import Search
from calve.registry.catalog import registry
from calve_transducer.layers.conversion import to_plain
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.joiner import Joiner
from calve_transducer.runtime import TorchSession
from calve_transducer.timing import Clock, TimedSession, torch_threads

__all__ = ["EMITTING", "Problem", "SearchRow", "benchmark_searches", "make_problem"]

Float32Array = NDArray[np.float32]

EMITTING = 0.17
"""Share of frames that emit a symbol: that of English speech and 500 word pieces."""

_VOCAB_SIZE = 500
_DIM = 512
_SAID, _RIVAL, _NOISE = 0.55, 0.5, 0.3
"""How loud a frame says its own symbol, another one (at most), and nothing in particular."""
_CONTEXT_WEIGHT = 0.3


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
      session: Decoder and joiner of 512 dimensions, 500 symbols; there is no encoder.
      utterances: Encoder frames (T', 512) of each, as the session's joiner takes them.
    """

    session: TorchSession
    utterances: list[Float32Array]


@dataclass(frozen=True)
class SearchRow:
    """All runs of one method.

    Attributes:
      method: Name of the decoding method.
      utterances: How many were searched at once.
      milliseconds: Median over the runs.
      fastest: The fastest of them, in milliseconds.
      outside: Share of the time that passed outside decoder and joiner, median over the runs.
      emitting: Symbols found for each frame.
      score: Mean score of the hypotheses.
    """

    method: str
    utterances: int
    milliseconds: float
    fastest: float
    outside: float
    emitting: float
    score: float


def make_problem(utterances: int, frames: int = 250, seed: int = 0) -> Problem:
    """A random model and utterances in which it finds a symbol in about every sixth frame.

    The weights are random, and a frame points to the row of one symbol, or of the blank, and less
    so to that of another: that makes most frames certain and some doubtful, as in speech.

    Args:
      utterances: How many.
      frames: Encoder frames of each; 250 are 10 s.
      seed: Of all random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    decoder = to_plain(StatelessDecoder(_VOCAB_SIZE, _DIM, blank_id=0, context_size=2))
    joiner = to_plain(Joiner(_DIM, _DIM, _DIM, _VOCAB_SIZE))
    with torch.no_grad():
        decoder.embedding.weight.normal_(generator=generator)
        decoder.conv.weight.normal_(0.0, 2**-0.5, generator=generator)
        joiner.decoder_proj.weight.normal_(0.0, _CONTEXT_WEIGHT * _DIM**-0.5, generator=generator)
        joiner.output_linear.weight.normal_(0.0, _DIM**-0.5, generator=generator)
        for layer in (joiner.decoder_proj, joiner.output_linear):
            layer.bias.zero_()
    directions = joiner.output_linear.weight.detach().sign().numpy()
    encoder = SimpleNamespace(geometry=None, feature_dim=80)
    session = TorchSession(SimpleNamespace(encoder=encoder, decoder=decoder, joiner=joiner))
    random = np.random.default_rng(seed)
    return Problem(session, [_utterance(directions, frames, random) for _ in range(utterances)])


def _utterance(directions: Float32Array, frames: int, random: np.random.Generator) -> Float32Array:
    emits = random.random(frames) < EMITTING
    said = np.where(emits, random.integers(1, _VOCAB_SIZE, frames), 0)
    other = random.integers(1, _VOCAB_SIZE, frames)
    rival = np.where(emits & (random.random(frames) < 0.5), 0, other)
    loudness = random.uniform(0, _RIVAL, (frames, 1))
    noise = _NOISE * random.normal(size=(frames, _DIM))
    frames_out = _SAID * directions[said] + loudness * directions[rival] + noise
    return frames_out.astype(np.float32)


def benchmark_searches(
    jobs: Sequence[tuple[str, int]],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    num_threads: int = 1,
    runs: int = 5,
    progress: Progress = NO_PROGRESS,
) -> list[SearchRow]:
    """Measure decoding methods.

    Args:
      jobs: Methods, and how many utterances of 10 s each searches at once.
      options: Options of methods, by name of the method.
      num_threads: CPU threads for the networks.
      runs: Turns; each job runs once in each, after one that is not counted.
      progress: Where to say how far it is.

    Raises:
      PluginError: if a method is unknown.
      ConfigError: if an option is unknown or wrong.
    """
    for method, _ in jobs:
        registry().decoding_methods.get(method)
    with torch_threads(num_threads):
        measured = [_Job(method, count, (options or {}).get(method, {})) for method, count in jobs]
        progress.start("measure", total=len(measured) * (runs + 1))
        for _ in range(runs + 1):
            for job in measured:
                job.run()
                progress.advance(note=f"{job.method}, {len(job.problem.utterances)} utterances")
        progress.finish()
    return [job.row() for job in measured]


class _Job:
    """One method on one problem, and how long it took."""

    def __init__(self, method: str, utterances: int, options: Mapping[str, Any]) -> None:
        self.method = method
        self.problem = make_problem(utterances)
        self._options = dict(options)
        self._seconds: list[float] = []
        self._in_networks: list[float] = []
        self._found: tuple[int, float] = (0, 0.0)

    def run(self) -> None:
        """Once more; the search is made anew, so that nothing is remembered."""
        networks = Clock()
        session: Any = TimedSession(self.problem.session, networks)
        search: Search = make_search(self.method, session, **self._options)
        streams = [search.start() for _ in self.problem.utterances]
        before = time.perf_counter()
        search.advance(streams, self.problem.utterances)
        results = [search.result(stream) for stream in streams]
        self._seconds.append(time.perf_counter() - before)
        self._in_networks.append(networks.seconds)
        tokens = sum(len(result.tokens) for result in results)
        self._found = (tokens, sum(result.score for result in results))

    def row(self) -> SearchRow:
        """All runs but the first."""
        seconds, inside = self._seconds[1:], self._in_networks[1:]
        tokens, score = self._found
        count = len(self.problem.utterances)
        return SearchRow(
            method=self.method,
            utterances=count,
            milliseconds=1000 * median(seconds),
            fastest=1000 * min(seconds),
            outside=median(1 - part / whole for part, whole in zip(inside, seconds, strict=True)),
            emitting=tokens / sum(map(len, self.problem.utterances)),
            score=score / count,
        )
