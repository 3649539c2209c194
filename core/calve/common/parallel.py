"""Parallel map over processes or a cluster, in bounded memory."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

from calve.common.children import current_folder_is_not_imported_from
from calve.common.cluster import cluster_executor
from calve.errors import CalveError

__all__ = ["check_semaphores", "ordered_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_TASKS_AHEAD = 4
"""Largest number of tasks per process that are running or whose results are pending."""


def check_semaphores(option: str) -> None:
    """Check that processes here can have queues between them.

    Linux keeps their semaphores in ``/dev/shm``, which is read-only in some containers.

    Args:
      option: The option that does without further processes, for the message.

    Raises:
      CalveError: if they cannot.
    """
    try:
        get_context().Lock()
    except OSError as error:
        raise CalveError(
            f"processes cannot have queues here: {error.strerror}",
            where="/dev/shm",
            fix=f"make /dev/shm writable (docker run --shm-size 1g), or give {option}",
        ) from error


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    items_per_task: int = 1,
    dask: str | None = None,
) -> Iterator[Result]:
    """``map(function, items)``, computed by ``jobs`` processes or by a Dask cluster.

    Results have the order of the items. Only a few tasks are active at a time, so memory does not
    grow with the number of items.

    Args:
      function: A module-level function; it and the items must be picklable. A result must depend
        only on its item, because a cluster repeats calls if a worker is lost.
      items: Arguments of the function.
      jobs: Number of processes; 1 runs everything in this process.
      items_per_task: Number of items that are sent to a process together.
      dask: Address of the scheduler of a Dask cluster, instead of processes here.

    Raises:
      CalveError: if a process ends without a result, or the cluster cannot be used.
    """
    if dask is not None:
        return _mapped(function, iter(items), items_per_task, cluster_executor(dask))
    if jobs <= 1:
        return map(function, items)
    return _mapped(function, iter(items), items_per_task, _process_pool(jobs))


def _mapped(
    function: Callable[[Item], Result],
    items: Iterator[Item],
    items_per_task: int,
    executor: AbstractContextManager[tuple[Executor, int]],
) -> Iterator[Result]:
    under_way: deque[Future[list[Result]]] = deque()
    with executor as (pool, workers):
        while True:
            while len(under_way) < workers * _TASKS_AHEAD and (
                task := list(islice(items, items_per_task))
            ):
                under_way.append(pool.submit(_apply, function, task))
            if not under_way:
                return
            yield from under_way.popleft().result()


@contextmanager
def _process_pool(jobs: int) -> Iterator[tuple[Executor, int]]:
    check_semaphores("--jobs 1")
    # Spawned rather than forked: the threads of torch, ncnn and libsndfile do not survive a fork.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare_worker)
    try:
        with current_folder_is_not_imported_from():
            yield pool, jobs
    except BrokenExecutor as error:
        raise CalveError(
            "a worker process ended without a result",
            fix="give it more memory, or use one process; a script that calls calve with several "
            "must do so under `if __name__ == '__main__':`",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _apply(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, which cancels the rest. End when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
