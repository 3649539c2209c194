"""Clocks for benchmarks in this process.

Turns, warm-up and ratios are those of `calve.common.measuring`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from calve.common.measuring import Contender, in_turns
from calve.common.progress import Progress
from calve.common.torch_threads import torch_threads
from calve.protocols import Session

__all__ = ["Clock", "TimedSession", "measure"]

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """Sums the time of calls.

    Args:
      now: The time in seconds: wall time, or CPU time.

    Attributes:
      seconds: The sum over all calls so far.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._now = now

    def of(self, call: Callable[P, T]) -> Callable[P, T]:
        """Return the function with its time added to ``seconds``."""

        def timed(*arguments: P.args, **options: P.kwargs) -> T:
            before = self._now()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += self._now() - before

        return timed


class TimedSession:
    """A session with a clock on decoder and joiner; everything else is passed through."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self.decode_context = clock.of(session.decode_context)
        self.join = clock.of(session.join)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def measure(
    contenders: Sequence[Contender[T]], runs: int, *, num_threads: int, progress: Progress
) -> list[list[T]]:
    """Run contenders in this process in turns, after one turn that is not counted.

    Args:
      contenders: The functions to measure.
      runs: Number of turns.
      num_threads: CPU threads of torch.
      progress: Receives one unit per run.

    Returns:
      For each contender its ``runs`` measurements.
    """
    with torch_threads(num_threads):
        return in_turns(contenders, runs, warm_up=1, progress=progress)
