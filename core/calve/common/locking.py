"""Locks on folders for one process at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from calve.common.files import missing_folders, remove_empty
from calve.errors import ConfigError

__all__ = ["LOCK_NAME", "locked"]

LOCK_NAME = ".lock"

_PATIENCE = 0.2
"""Seconds in which a lock file that its holder removes is made again."""
_POLL = 0.02
_ATTEMPTS = 100
"""How often other processes may remove the folder while it is being locked."""


@contextmanager
def locked(folder: Path, *, doing: str, option: str) -> Iterator[None]:
    """Lock ``folder`` for this process inside the block; create it if it does not exist.

    The operating system releases the lock when the process ends in any way. A folder that was
    created here is removed again if nothing was put into it; in any other the lock file stays.

    Args:
      folder: The folder to lock.
      doing: Activity of the other process, for the message: "training in".
      option: The command line option that names the folder: "--exp-dir".

    Raises:
      ConfigError: if another process holds the folder, or it cannot be written.
    """
    try:
        missing = missing_folders(folder)
        lock = _acquired(folder / LOCK_NAME)
    except Timeout as error:
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
    try:
        yield
    finally:
        if missing:
            _remove_unused(folder)
            remove_empty(missing)
        lock.release()


def _acquired(path: Path) -> FileLock:
    """The lock of a file, held.

    Raises:
      Timeout: if another process holds it.
      OSError: if it cannot be created.
    """
    if path.parent.is_symlink() and not path.parent.exists():
        # filelock would create the folder that the link leads to.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    lock = FileLock(path)
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):  # The holder has just removed the folder.
            lock.acquire(timeout=_PATIENCE, poll_interval=_POLL)
            return lock
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _remove_unused(folder: Path) -> None:
    """Remove the lock file if the folder holds nothing else; only the holder of the lock may."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK_NAME]:
            (folder / LOCK_NAME).unlink()
