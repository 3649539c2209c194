"""How long parts of a program take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from calve.protocols import Session

__all__ = ["Clock", "TimedSession", "torch_threads"]


class Clock:
    """Adds up how long calls take.

    Args:
      now: What time it is, in seconds: wall time, or CPU time.

    Attributes:
      seconds: How long all calls took so far.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = 0.0
        self._now = now

    def of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; what it takes is added."""

        def timed(*arguments: Any, **options: Any) -> Any:
            before = self._now()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += self._now() - before

        return timed


class TimedSession:
    """A session whose networks, decoder and joiner, are timed."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self.decode_context = clock.of(session.decode_context)
        self.join = clock.of(session.join)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Inside the block, torch has so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
