"""CPU time of FSA backends in the same search on the same synthetic input."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from calve.api import CalveError
from calve.common.measuring import Contender, median_ratio
from calve.common.progress import NO_PROGRESS, Progress
from calve.protocols import FsaBackend, FsaWalk, Hypothesis
from calve.services import make_search
from calve_bench.harness import Clock, TimedSession, measure
from calve_bench.searches import SearchProblem, make_problem

__all__ = ["FsaRow", "benchmark_fsa_backends"]


@dataclass(frozen=True)
class FsaRow:
    """All runs on one backend.

    Times are CPU times, because other work on the machine affects them less.

    Attributes:
      backend: A driver in ``calve.fsa_backends``.
      utterances: Number of utterances searched at once.
      milliseconds: CPU time of the backend, median over the runs.
      outside: CPU time outside of decoder and joiner in milliseconds, median over the runs.
      ratio: Median, over the turns, of ``milliseconds`` by the second backend's.
      outside_ratio: Median, over the turns, of ``outside`` by the second backend's
        ``milliseconds``.
    """

    backend: str
    utterances: int
    milliseconds: float
    outside: float
    ratio: float
    outside_ratio: float


def benchmark_fsa_backends(
    backend: str,
    against: str,
    utterances: Sequence[int],
    *,
    num_threads: int = 1,
    runs: int = 5,
    progress: Progress = NO_PROGRESS,
) -> list[FsaRow]:
    """Measure `fast_beam_search` on two FSA backends.

    Args:
      backend, against: Drivers in ``calve.fsa_backends``.
      utterances: Number of utterances of 10 s that are searched at once.
      num_threads: CPU threads for the networks.
      runs: Turns; each backend runs once in each, after one turn that is not counted.
      progress: Receives the progress.

    Raises:
      PluginError: if a backend is unknown.
      CalveError: if one fails, or if they find different tokens.
    """
    backends = (backend, against)
    problems = [make_problem(count) for count in utterances]
    contenders = [_contender(problem, name) for problem in problems for name in backends]
    measured = measure(contenders, runs, num_threads=num_threads, progress=progress)
    rows: list[FsaRow] = []
    for number, count in enumerate(utterances):
        ours, theirs = measured[2 * number : 2 * number + 2]
        for one, other in zip(ours, theirs, strict=True):
            _check_tokens(backends, one.found, other.found)
        rows += [_row(backend, count, ours, theirs), _row(against, count, theirs, theirs)]
    return rows


@dataclass(frozen=True)
class _BackendRun:
    """One search: CPU seconds of the backend and outside of the networks, and the result."""

    backend: float
    outside: float
    found: list[Hypothesis]


def _contender(problem: SearchProblem, name: str) -> Contender[_BackendRun]:
    title = f"{name}, {len(problem.utterances)} utterances"
    return Contender(title, lambda: _search(problem, name))


def _search(problem: SearchProblem, name: str) -> _BackendRun:
    networks, walking = Clock(time.process_time), Clock(time.process_time)
    session: Any = TimedSession(problem.session, networks)
    search: Any = make_search("fast_beam_search", session, fsa_backend=name)
    backend = search.walker
    search.walker = _TimedBackend(backend, walking)
    before, before_elsewhere = time.process_time(), _seconds_elsewhere(backend)
    streams = [search.start() for _ in problem.utterances]
    search.advance(streams, problem.utterances)
    found = [search.result(stream) for stream in streams]
    here = time.process_time() - before - networks.seconds
    elsewhere = _seconds_elsewhere(backend) - before_elsewhere
    # Communication with a backend in another process is not part of the backend.
    taken = elsewhere or walking.seconds
    return _BackendRun(taken, here - walking.seconds + taken, found)


def _seconds_elsewhere(backend: FsaBackend) -> float:
    """CPU time that a backend reports for its other process, see `FsaBackend`."""
    return float(getattr(backend, "seconds", 0.0))


def _check_tokens(
    names: Sequence[str], ours: Sequence[Hypothesis], theirs: Sequence[Hypothesis]
) -> None:
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one.tokens != other.tokens:
            raise CalveError(
                f"{names[0]} finds {one.tokens}, {names[1]} {other.tokens}",
                where=f"utterance {number}",
                fix="backends with different results cannot be compared; run the conformance tests",
            )


def _row(
    name: str, utterances: int, runs: Sequence[_BackendRun], others: Sequence[_BackendRun]
) -> FsaRow:
    theirs = [run.backend for run in others]
    return FsaRow(
        backend=name,
        utterances=utterances,
        milliseconds=1000 * median(run.backend for run in runs),
        outside=1000 * median(run.outside for run in runs),
        ratio=median_ratio([run.backend for run in runs], theirs),
        outside_ratio=median_ratio([run.outside for run in runs], theirs),
    )


class _TimedBackend:
    """An FSA backend with a clock on all calls, including those of its walks."""

    def __init__(self, backend: FsaBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.start = clock.of(backend.start)
        self.lattice = clock.of(backend.lattice)

    def walk(self, streams: Sequence[Any]) -> _TimedWalk:
        """Begin a walk of several streams."""
        return _TimedWalk(self._clock.of(self._backend.walk)(streams), self._clock)


class _TimedWalk:
    """A walk with a clock on all calls."""

    def __init__(self, walk: FsaWalk, clock: Clock) -> None:
        self.contexts = clock.of(walk.contexts)
        self.advance = clock.of(walk.advance)
        self.finish = clock.of(walk.finish)
