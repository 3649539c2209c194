"""Outputs of preparation stages: skipped if up to date, otherwise replaced as a whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calve.api import DataError
from calve.common.files import atomic_dir, atomic_file, replace_dir
from calve.common.inputs import read_json

__all__ = ["StageOutput", "added", "resumable", "stamp_of", "stamped"]

_STAMP = "stamp.json"
_ELSEWHERE = "elsewhere.json"


@dataclass
class StageOutput:
    """Where a stage writes, if it has to.

    Attributes:
      folder: The finished folder, or the temporary one to fill if `is_new`.
      digest: Stands for everything that determines the content.
      is_new: Whether the stage must run.
      report: What the stage made; read back from the stamp if it need not run.
    """

    folder: Path
    digest: str
    is_new: bool
    report: dict[str, Any] = field(default_factory=dict)

    def claim(self, folders: Iterable[Path]) -> None:
        """Make ``folders``, outside of `folder`, a part of this output: they go when it goes.

        They are emptied, unless an interrupted stage filled them that this one continues.
        """
        claimed = [*folders]
        if not _claimed(self.folder):
            _remove(*claimed)
            with atomic_file(self.folder / _ELSEWHERE) as temporary:
                temporary.write_text(json.dumps([*map(str, claimed)]) + "\n", encoding="utf-8")
        for folder in claimed:
            folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def stamped(folder: Path, key: Mapping[str, object]) -> Iterator[StageOutput]:
    """A stage's output folder, tied to everything that determines its content.

    A folder whose stamp bears the digest of ``key`` is left alone. Otherwise a temporary folder
    is handed out, and replaces the old one when the block ends well; an interrupted stage leaves
    no trace and is simply run again.
    """
    digest = _digest(key)
    if finished := _finished(folder, folder / _STAMP, digest):
        yield finished
        return
    with atomic_dir(folder, overwrite=True) as temporary:
        output = StageOutput(temporary, digest, is_new=True)
        yield output
        _write_stamp(temporary / _STAMP, digest, output.report)


@contextmanager
def added(folder: Path, name: str, key: Mapping[str, object]) -> Iterator[StageOutput]:
    """Like `stamped`, for files that a later stage puts into an earlier one's folder.

    The stage must write each of its files whole or not at all. They are gone, and made again,
    when the earlier stage makes its folder anew.
    """
    digest = _digest(key)
    path = folder / f"{name}-{_STAMP}"
    if finished := _finished(folder, path, digest):
        yield finished
        return
    path.unlink(missing_ok=True)
    output = StageOutput(folder, digest, is_new=True)
    yield output
    _write_stamp(path, digest, output.report)


@contextmanager
def resumable(folder: Path, key: Mapping[str, object]) -> Iterator[StageOutput]:
    """Like `stamped`, for a stage of many pieces that takes long.

    The temporary folder survives an interruption, and is handed out again as long as ``key`` is
    the same; the stage must leave nothing half-written in it, and skip what it finds.
    """
    digest = _digest(key)
    if finished := _finished(folder, folder / _STAMP, digest):
        yield finished
        return
    temporary = folder.with_name(f".{folder.name}.{digest}")
    for stale in folder.parent.glob(f".{folder.name}.*"):
        if stale != temporary:
            _remove(stale, *_claimed(stale))
    temporary.mkdir(parents=True, exist_ok=True)
    output = StageOutput(temporary, digest, is_new=True)
    yield output
    _write_stamp(temporary / _STAMP, digest, output.report)
    replaced = _claimed(folder) - _claimed(temporary)
    replace_dir(temporary, folder)
    _remove(*replaced)


def stamp_of(folder: Path, stage: str) -> str:
    """The digest of the finished ``folder``; a later stage makes it part of its own key.

    Raises:
      DataError: if ``stage``, which writes the folder, has not been run.
    """
    stamp = _read_stamp(folder / _STAMP)
    if stamp is None:
        raise DataError(
            f"stage {stage!r} has not been run for this data directory",
            where=folder,
            fix="start from an earlier --stage",
        )
    return str(stamp["digest"])


def _finished(folder: Path, stamp_path: Path, digest: str) -> StageOutput | None:
    """What a stage made there, if it is what the digest stands for."""
    stamp = _read_stamp(stamp_path)
    if stamp is None or stamp["digest"] != digest:
        return None
    return StageOutput(folder, digest, is_new=False, report=stamp["report"])


def _claimed(folder: Path) -> set[Path]:
    """The folders outside that belong to an output."""
    try:
        return {Path(name) for name in read_json(folder / _ELSEWHERE, "list", DataError)}
    except (DataError, TypeError):
        return set()


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _digest(key: Mapping[str, object]) -> str:
    text = json.dumps(key, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_stamp(path: Path, digest: str, report: Mapping[str, Any]) -> None:
    stamp = {"digest": digest, "report": report}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def _read_stamp(path: Path) -> dict[str, Any] | None:
    try:
        stamp = read_json(path, "stamp", DataError)
    except DataError:
        return None
    return stamp if isinstance(stamp, dict) and {"digest", "report"} <= stamp.keys() else None
