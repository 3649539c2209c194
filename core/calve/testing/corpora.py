"""Preparation of a small corpus: at once, stage by stage, and with interruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calve.common.config import resolve
from calve.common.progress import NO_PROGRESS, Progress
from calve.errors import DataError
from calve.registry.pipeline import run_steps
from calve.registry.specs import DatasetSpec, StageSpec
from calve.testing.folders import kept_folder

__all__ = ["Interrupted", "InterruptedProgress", "Prepared", "kept_corpus", "prepare", "snapshot"]

Reports = Mapping[str, Mapping[str, Any]]

_kept: dict[str, Prepared] = {}


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus.

    Attributes:
      data_dir: Its data directory.
      reports: Report of each stage.
    """

    data_dir: Path
    reports: Reports


class Interrupted(KeyboardInterrupt):
    """Stands for a Ctrl-C during preparation."""


class InterruptedProgress:
    """Progress that interrupts the work at its ``number``-th call."""

    def __init__(self, number: int) -> None:
        self._left = number

    def start(self, title: str, total: int | None = None) -> None:
        self._count()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._count()

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise Interrupted


def kept_corpus(spec: DatasetSpec, options: Mapping[str, Any]) -> Prepared:
    """Prepare a corpus once for all checks, which must not modify it."""
    key = f"{spec} {sorted(options.items())}"
    if key not in _kept:
        data_dir = kept_folder() / "data"
        _kept[key] = Prepared(data_dir, prepare(spec, options, data_dir))
    return _kept[key]


def prepare(
    spec: DatasetSpec,
    options: Mapping[str, Any],
    data_dir: Path,
    *,
    stages: Sequence[StageSpec] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Reports:
    """Run some or all stages as ``calve prepare`` does; return the report of each."""
    resolved = resolve(spec.options.load(), {**options, "data_dir": data_dir})
    results = run_steps(
        spec.stages if stages is None else stages,
        resolved,
        progress,
        kind="stage",
        error=DataError,
    )
    return {result.name: result.report for result in results}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, to detect rewritten files."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
