"""One process at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from calve.common.files import missing_folders, remove_empty
from calve.errors import ConfigError

__all__ = ["LOCK_NAME", "locked"]

LOCK_NAME = ".lock"

_ATTEMPTS = 100
"""How often others may remove the folder while it is being locked."""


@contextmanager
def locked(folder: Path, *, doing: str, option: str) -> Iterator[None]:
    """Inside the block, no other process holds ``folder``; it is made if it does not exist.

    The system gives the lock back when the process ends, however it ends. A folder that was made
    here, and that nothing was put into, is removed again; in any other the file of the lock stays.

    Args:
      folder: What is written by one process at a time.
      doing: What the other one is doing, for the message: "training in".
      option: What names the folder on the command line: "--exp-dir".

    Raises:
      ConfigError: if another process holds it, or nothing can be written there.
    """
    try:
        missing = missing_folders(folder)
        file = _held(folder / LOCK_NAME)
    except BlockingIOError as error:
        raise ConfigError(
            f"another process is {doing} this folder",
            where=folder,
            fix=f"wait for it, stop it, or give another {option}",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot write into this folder: {error.strerror}",
            where=folder,
            fix=f"give another {option}",
        ) from error
    with file:
        try:
            yield
        finally:
            if missing:
                _remove_unused(folder)
                remove_empty(missing)


def _held(path: Path) -> TextIO:
    """The lock's file, opened and locked.

    Raises:
      BlockingIOError: if another process holds it.
      OSError: if it cannot be made.
    """
    for _ in range(_ATTEMPTS):
        try:
            with suppress(FileExistsError):
                path.parent.mkdir(parents=True)
            file = path.open("a")
        except FileNotFoundError:
            continue  # Who held the folder has just removed it; or else it cannot be made.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise
        if _is_at(file, path):
            return file
        # Removed by who held it, before this process did: another may hold a new one by now.
        file.close()
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _remove_unused(folder: Path) -> None:
    """Remove the lock's file, if nothing else is in the folder; only who holds it may."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK_NAME]:
            (folder / LOCK_NAME).unlink()


def _is_at(file: TextIO, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
