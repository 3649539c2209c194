"""Describes TorchScript files for ``calve inspect``: lists the archive, and loads nothing of it."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["inspect"]


def inspect(path: Path) -> dict[str, Any] | None:
    """What is in a TorchScript archive; None if it is none.

    The archive holds code that loading would run, so that only the names and sizes are read.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    code = [one for one in entries if _folder(one) == "code" and one.filename.endswith(".py")]
    if not code:
        return None
    weights = [one for one in entries if _folder(one) in ("data", "constants")]
    return {
        "kind": "TorchScript archive",
        "note": "its code was not loaded: load only files that you trust",
        "code": [{"file": _inside(one), "bytes": one.file_size} for one in code],
        "tensors": len(weights),
        "bytes of tensors": sum(one.file_size for one in weights),
    }


def _folder(entry: zipfile.ZipInfo) -> str:
    """The folder of an entry below the archive's own, as in ``NAME/code/__torch__.py``."""
    parts = PurePosixPath(entry.filename).parts
    return parts[1] if len(parts) > 2 else ""


def _inside(entry: zipfile.ZipInfo) -> str:
    return "/".join(PurePosixPath(entry.filename).parts[1:])
