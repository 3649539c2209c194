"""Outputs of preparation stages: skipped when up to date, replaced whole when not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calve.api import DataError
from calve.files import atomic_dir

__all__ = ["StageOutput", "stamp_of", "stamped"]

_STAMP = "stamp.json"


@dataclass
class StageOutput:
    """Where a stage writes, if it has to.

    Attributes:
      folder: The finished folder, or the temporary one to fill if `is_new`.
      is_new: Whether the stage must run.
      report: What the stage made; read back from the stamp if it need not run.
    """

    folder: Path
    is_new: bool
    report: dict[str, Any] = field(default_factory=dict)


@contextmanager
def stamped(folder: Path, key: Mapping[str, object]) -> Iterator[StageOutput]:
    """A stage's output folder, tied to everything that determines its content.

    A folder whose stamp bears the digest of ``key`` is left alone. Otherwise a temporary folder
    is handed out, and replaces the old one when the block ends well; an interrupted stage leaves
    no trace and is simply run again.
    """
    digest = _digest(key)
    stamp = _read_stamp(folder)
    if stamp is not None and stamp["digest"] == digest:
        yield StageOutput(folder, is_new=False, report=stamp["report"])
        return
    with atomic_dir(folder, overwrite=True) as temporary:
        output = StageOutput(temporary, is_new=True)
        yield output
        stamp = {"digest": digest, "report": output.report}
        (temporary / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")


def stamp_of(folder: Path, stage: str) -> str:
    """The digest of the finished ``folder``; a later stage makes it part of its own key.

    Raises:
      DataError: if ``stage``, which writes the folder, has not been run.
    """
    stamp = _read_stamp(folder)
    if stamp is None:
        raise DataError(
            f"stage {stage!r} has not been run for this data directory",
            where=folder,
            fix="start from an earlier --stage",
        )
    return str(stamp["digest"])


def _digest(key: Mapping[str, object]) -> str:
    text = json.dumps(key, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and {"digest", "report"} <= stamp.keys() else None
