"""Folders for temporary files, locked while in use, so that abandoned folders are recognized."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calve.common.claims import locks, remove

__all__ = ["locked_scratch"]

_SUFFIX = ".scratch"
_NAME = re.compile(rf"calve-[a-z]+-[a-z0-9_]{{8}}{re.escape(_SUFFIX)}")
"""What such folders are called: a purpose, what `tempfile` inserts, and an ending that no other
temporary folder has."""


@contextmanager
def locked_scratch(prefix: str) -> Iterator[Path]:
    """Create a temporary folder for the block; first remove folders of killed processes.

    Args:
      prefix: "calve-PURPOSE-".

    Raises:
      OSError: if it cannot be made.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder, descriptor = _made(prefix)
    try:
        yield folder
    finally:
        remove(folder)
        os.close(descriptor)


def _made(prefix: str) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(_SUFFIX, prefix))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            # Another process may have taken it for an abandoned one before it was locked.
            if locks(descriptor) is not False and folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    """Remove this user's folders that no process holds."""
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and _is_own_folder(entry):
                _remove_if_unlocked(Path(entry.path))


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False) and (
            entry.stat(follow_symlinks=False).st_uid == os.getuid()
        )
    return False


def _remove_if_unlocked(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if locks(descriptor):
                remove(folder)
        finally:
            os.close(descriptor)
