"""Fair measurements: contenders run in turns, and ratios are taken within a turn.

If a machine slows down for a while, it slows all contenders of a turn, so that their ratio stays
the same. The median over the turns removes disturbed turns. `run_measurement` runs each measurement
in its own process, so that no contender profits from the warm caches or the memory of another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

from calve.common.children import Child, run_children
from calve.common.files import scratch_folder
from calve.common.progress import NO_PROGRESS, Progress, tracked

__all__ = ["Contender", "MeasuringError", "in_turns", "median_ratio", "run_measurement"]

T = TypeVar("T")


class MeasuringError(Exception):
    """A child process failed to measure; the message has the reason and the end of its log."""


@dataclass(frozen=True)
class Contender(Generic[T]):
    """One of the functions to compare.

    Attributes:
      name: Shown beside the progress bar.
      measure: Runs it once.
    """

    name: str
    measure: Callable[[], T]


def in_turns(
    contenders: Sequence[Contender[T]],
    turns: int,
    *,
    warm_up: int = 0,
    title: str = "measure",
    progress: Progress = NO_PROGRESS,
) -> list[list[T]]:
    """Run every contender once in each turn.

    Args:
      contenders: What is measured, in this order within a turn.
      turns: Number of turns that count.
      warm_up: Number of turns before them that do not count.
      title: Title of the progress bar.
      progress: Receives one unit per run.

    Returns:
      For each contender its ``turns`` measurements, in the order of the turns.
    """
    measured: list[list[T]] = [[] for _ in contenders]
    with tracked(progress, title, len(contenders) * (warm_up + turns)):
        for _ in range(warm_up + turns):
            for contender, measurements in zip(contenders, measured, strict=True):
                measurements.append(contender.measure())
                progress.advance(note=contender.name)
    return [measurements[warm_up:] for measurements in measured]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median, over the turns, of the ratio within a turn."""
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def run_measurement(
    name: str, command: Sequence[str], task: Mapping[str, Any], *, time_limit: float
) -> dict[str, Any]:
    """Run one measurement in a child process.

    The child reads ``task`` as JSON from stdin and writes its result as one JSON object to the file
    that its last argument names; native code may write to its stdout and stderr. Its working
    directory is an empty folder, so paths in ``task`` are absolute.

    Args:
      name: Name of the child in messages.
      command: Program and arguments, without the result file.
      task: The measurement to make.
      time_limit: Seconds until the child is killed.

    Raises:
      MeasuringError: if the child crashes, fails, hangs or writes no result.
      OSError: if the command cannot be started.
    """
    with scratch_folder("calve-bench-") as folder:
        result = folder / "result.json"
        child = Child(
            name="measurement",
            command=[*command, str(result)],
            folder=folder,
            time_limit=time_limit,
            input=json.dumps(task),
        )
        (outcome,) = run_children([child])
        found = None if outcome.failure else _read_result(result)
    if found is None:
        failure = outcome.failure or "ended without a result"
        raise MeasuringError(f"{name} {failure}; the end of its log:\n{outcome.tail}")
    return found


def _read_result(path: Path) -> dict[str, Any] | None:
    """The result, None if there is no complete one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
