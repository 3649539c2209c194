"""Deferred interruption: a stop request is handled at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from calve.common.termination import Terminated

__all__ = ["stop_request"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_request() -> Iterator[threading.Event]:
    """Inside the block, the first Ctrl-C or SIGTERM sets the event; a second one acts immediately.

    Batch systems send SIGTERM before they reclaim a machine.

    Raises:
      Terminated: in place of the block's KeyboardInterrupt, if the signal was SIGTERM.
    """
    received: list[int] = []
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        stop.set()
        restore()

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield stop
    except KeyboardInterrupt as interrupt:
        if received == [signal.SIGTERM]:
            raise Terminated(signal.SIGTERM) from interrupt
        raise
    finally:
        restore()
