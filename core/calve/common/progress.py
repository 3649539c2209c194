"""Progress reporting: a bar on a terminal, sparse lines in a log."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from calve.common.printable import one_line
from calve.common.terminal import print_to_stderr

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["NO_PROGRESS", "Progress", "console_progress", "tracked"]

_SECONDS_BETWEEN_LINES = 15.0


class Progress(Protocol):
    """Reports how far a task is; calve's implementation draws a bar on stderr."""

    def start(self, title: str, total: int | None = None) -> None:
        """Begin a task; the one before it, if any, is finished. ``total`` is its size, if known."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Report that ``amount`` more is done; ``note`` is shown beside the bar."""

    def finish(self) -> None:
        """End the task, which is done; does nothing if no task is running."""

    def abandon(self) -> None:
        """End the task, which is not done; does nothing if no task is running."""


def console_progress() -> Progress:
    """Progress on stderr, fitted to what stderr is; stdout stays free for results."""
    return _Bar() if sys.stderr.isatty() else _Lines()


@contextmanager
def tracked(progress: Progress, title: str, total: int | None = None) -> Iterator[None]:
    """Report the ``with`` block as one task, abandoned if an exception leaves the block.

    Args:
      progress: Where the task is reported.
      title: What the task does.
      total: The size of the task, if known.
    """
    progress.start(title, total)
    try:
        yield
    except BaseException:
        progress.abandon()
        raise
    progress.finish()


class _Silent:
    def start(self, title: str, total: int | None = None) -> None:
        pass

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


NO_PROGRESS: Progress = _Silent()
"""Reports nothing: for library use and tests."""


class _Lines:
    """One line when work starts, one when it ends, and one now and then between."""

    def __init__(self) -> None:
        self._title: str | None = None

    def start(self, title: str, total: int | None = None) -> None:
        self.finish()
        self._title, self._total, self._done = title, total, 0
        self._started = self._last_line = time.monotonic()
        print_to_stderr(f"{title} ...")

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._title is None:
            return
        self._done += amount
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        share = f"{self._done}"
        if self._total:
            share = f"{self._done}/{self._total}"
        if self._total and self._done:
            left = (now - self._started) / self._done * max(self._total - self._done, 0)
            share += f" ({_duration(left)} left)"
        print_to_stderr(f"{self._title}: {share} {note}".rstrip())

    def finish(self) -> None:
        self._end("done in")

    def abandon(self) -> None:
        self._end("stopped after")

    def _end(self, how: str) -> None:
        if self._title is None:
            return
        seconds = time.monotonic() - self._started
        print_to_stderr(f"{self._title}: {how} {seconds:.1f} s")
        self._title = None


def _duration(seconds: float) -> str:
    """As clocks show it: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Bar:
    """A live bar with the last note below it, where a narrow terminal has room for both."""

    def __init__(self) -> None:
        self._rich = _bar_with_note()
        self._task: TaskID | None = None
        # An exception may pass by before `finish`: the cursor must come back all the same.
        atexit.register(self._rich.stop)

    def start(self, title: str, total: int | None = None) -> None:
        self.finish()
        self._task = self._rich.add_task(one_line(title), total=total, note="")
        self._rich.start()

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._task is not None:
            self._rich.update(self._task, advance=amount, note=one_line(note))

    def finish(self) -> None:
        if self._task is None:
            return
        self._rich.stop()
        self._rich.remove_task(self._task)
        self._task = None

    def abandon(self) -> None:
        self.finish()


def _bar_with_note() -> RichProgress:
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class BarWithNote(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            for task in self.tasks:
                if task.fields["note"]:
                    yield Text(f"  {task.fields['note']}", no_wrap=True, overflow="ellipsis")

    return BarWithNote(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
