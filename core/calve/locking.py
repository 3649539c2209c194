"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calve.errors import ConfigError

__all__ = ["LOCK_NAME", "locked"]

LOCK_NAME = ".lock"


@contextmanager
def locked(folder: Path, *, doing: str, option: str) -> Iterator[None]:
    """Inside the block, no other process holds ``folder``; it is made if it does not exist.

    The system gives the lock back when the process ends, however it ends. The file of the lock
    stays: removing it could give two processes a lock each.

    Args:
      folder: What is written by one process at a time.
      doing: What the other one is doing, for the message: "training in".
      option: What names the folder on the command line: "--exp-dir".

    Raises:
      ConfigError: if another process holds it, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOCK_NAME).open("a")
    except OSError as error:
        raise ConfigError(
            f"cannot write into this folder: {error.strerror}",
            where=folder,
            fix=f"give another {option}",
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is {doing} this folder",
                where=folder,
                fix=f"wait for it, stop it, or give another {option}",
            ) from error
        yield
