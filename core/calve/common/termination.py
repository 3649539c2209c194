"""Termination by signals, with the same cleanup as Ctrl-C."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["Terminated", "raise_when_terminated"]

_SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals of batch systems and ``timeout``, and of a closed terminal."""


class Terminated(KeyboardInterrupt):
    """A signal asked this process to end.

    Args:
      number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"terminated by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """Exit code that shells report for a process that the signal ended."""
        return 128 + self.number


def raise_when_terminated() -> None:
    """Make termination signals raise `Terminated` in the main thread.

    Without it they end the process at once, and its temporary files stay. Signals that are ignored
    or handled already, as under ``nohup``, are left alone. A forked process ends as before.
    """
    own = os.getpid()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        # A second signal must not interrupt the cleanup.
        signal.signal(number, signal.SIG_IGN)
        raise Terminated(number)

    for name in _SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, on_signal)
