"""Speed of decoding methods on the same synthetic encoder output."""

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

from calve.common.measuring import Contender
from calve.common.progress import NO_PROGRESS, Progress
from calve.protocols import Search
from calve.services import make_search, registry
from calve_bench.harness import Clock, TimedSession, measure
from calve_transducer.layers.conversion import to_plain
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.joiner import Joiner
from calve_transducer.runtime import TorchSession

__all__ = ["EMITTING", "SearchProblem", "SearchRow", "benchmark_searches", "make_problem"]

Float32Array = NDArray[np.float32]

EMITTING = 0.17
"""Share of frames that emit a symbol: that of English speech and 500 word pieces."""

_VOCAB_SIZE = 500
_DIM = 512
_SAID, _RIVAL, _NOISE = 0.55, 0.5, 0.3
"""Logits of a frame: its own symbol, another symbol (at most), and the rest."""
_CONTEXT_WEIGHT = 0.3


@dataclass(frozen=True)
class SearchProblem:
    """The input of the searches.

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
      utterances: Number of utterances searched at once.
      milliseconds: Median over the runs.
      fastest: The fastest of them, in milliseconds.
      outside: Share of the time outside of decoder and joiner, median over the runs.
      emitting: Number of symbols per frame.
      score: Mean score of the hypotheses.
    """

    method: str
    utterances: int
    milliseconds: float
    fastest: float
    outside: float
    emitting: float
    score: float


def make_problem(utterances: int, frames: int = 250, seed: int = 0) -> SearchProblem:
    """Create a random model and utterances in which about every sixth frame emits a symbol.

    The weights are random. A frame is the sum of the row of one symbol (or the blank) and, with a
    smaller weight, the row of another. Most frames are therefore certain and some are doubtful, as
    in speech.

    Args:
      utterances: Number of utterances.
      frames: Encoder frames of each; 250 are 10 s.
      seed: Seed of all random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    decoder: Any = to_plain(StatelessDecoder(_VOCAB_SIZE, _DIM, blank_id=0, context_size=2))
    joiner: Any = to_plain(Joiner(_DIM, _DIM, _DIM, _VOCAB_SIZE))
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
    return SearchProblem(
        session, [_utterance(directions, frames, random) for _ in range(utterances)]
    )


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
      jobs: Methods, each with the number of utterances of 10 s that it searches at once.
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
    problems = {count: make_problem(count) for count in {count for _, count in jobs}}
    contenders = [
        _contender(method, problems[count], (options or {}).get(method, {}))
        for method, count in jobs
    ]
    measured = measure(contenders, runs, num_threads=num_threads, progress=progress)
    return [
        _row(method, problems[count], found)
        for (method, count), found in zip(jobs, measured, strict=True)
    ]


@dataclass(frozen=True)
class _MethodRun:
    """One search: total seconds, seconds in the networks, number of symbols, and sum of scores."""

    seconds: float
    in_networks: float
    tokens: int
    score: float


def _contender(
    method: str, problem: SearchProblem, options: Mapping[str, Any]
) -> Contender[_MethodRun]:
    name = f"{method}, {len(problem.utterances)} utterances"
    return Contender(name, lambda: _search(method, problem, options))


def _search(method: str, problem: SearchProblem, options: Mapping[str, Any]) -> _MethodRun:
    """Search once, with a new search object, so that its caches are empty."""
    networks = Clock()
    session: Any = TimedSession(problem.session, networks)
    search: Search = make_search(method, session, **options)
    streams = [search.start() for _ in problem.utterances]
    before = time.perf_counter()
    search.advance(streams, problem.utterances)
    results = [search.result(stream) for stream in streams]
    return _MethodRun(
        seconds=time.perf_counter() - before,
        in_networks=networks.seconds,
        tokens=sum(len(result.tokens) for result in results),
        score=sum(result.score for result in results),
    )


def _row(method: str, problem: SearchProblem, runs: Sequence[_MethodRun]) -> SearchRow:
    count = len(problem.utterances)
    return SearchRow(
        method=method,
        utterances=count,
        milliseconds=1000 * median(run.seconds for run in runs),
        fastest=1000 * min(run.seconds for run in runs),
        outside=median(1 - run.in_networks / run.seconds for run in runs),
        emitting=runs[-1].tokens / sum(map(len, problem.utterances)),
        score=runs[-1].score / count,
    )
