"""Parallel map over processes, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from calve.common.parallel import ordered_map
from calve.common.progress import Progress, tracked

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
      function: See `calve.common.parallel.ordered_map`.
      items: What to work on.
      jobs: Processes; with 1 everything happens in this one.
      title: What the progress bar says.
      progress: Where it is drawn.
    """
    with tracked(progress, title, len(items)):
        results = []
        for result in ordered_map(function, items, jobs=jobs, items_per_task=_ITEMS_PER_TASK):
            results.append(result)
            progress.advance()
    return results
