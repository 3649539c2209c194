"""The same function on many items, in several processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from calve.protocols import Progress

__all__ = ["parallel_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_TASK = 16


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    title: str,
    progress: Progress,
) -> list[Result]:
    """``[function(item) for item in items]``, computed by ``jobs`` processes.

    Args:
      function: A module-level function; it and the items must be picklable.
      items: What to work on. Results must depend on the item alone, so that they are the same
        whatever the number of processes.
      jobs: Processes; with 1 everything happens in this one.
      title: What the progress bar says.
      progress: Where it is drawn.
    """
    progress.start(title, len(items))
    if jobs <= 1:
        results = []
        for item in items:
            results.append(function(item))
            progress.advance()
    else:
        results = _in_processes(function, items, jobs, progress)
    progress.finish()
    return results


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, progress: Progress
) -> list[Result]:
    # Spawned rather than forked: torch's and libsndfile's threads do not survive a fork.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare_worker)
    starts = range(0, len(items), _ITEMS_PER_TASK)
    try:
        tasks = [
            pool.submit(_apply, function, list(items[start : start + _ITEMS_PER_TASK]))
            for start in starts
        ]
        pending: set[Future[list[Result]]] = set(tasks)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for task in done:
                progress.advance(len(task.result()))
        return [result for task in tasks for result in task.result()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _apply(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, which cancels the rest, and do not outlive it if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
