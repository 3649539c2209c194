"""Claims: one process at a time writes an output, and the next removes remains of a killed one.

A claim is a locked file beside the output. The system releases the lock when the process ends in
any way. An unlocked claim therefore belongs to a killed process, and the remains of that process
can be removed. File systems without locks (some network folders) have no claims; there, two
processes can still not replace each other's output without ``--overwrite``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calve.errors import ConfigError

__all__ = ["claimed", "hidden_sibling", "locks", "older_sibling", "remove"]

_CLAIM = ".calve-claim"
_OLDER = "calve-older"
_LONGEST = 180
"""Bytes of an output's name that fit into a hidden name, of which Linux allows 255."""
_POLL = 0.02
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF}


@contextmanager
def claimed(target: Path, *, patience: float) -> Iterator[None]:
    """Claim ``target`` for this process inside the block.

    Remains of killed processes in the same folder are removed first.

    Args:
      target: The output; its folder is created if it is missing.
      patience: Seconds to wait for another process.

    Raises:
      ConfigError: if another process holds the claim.
      OSError: with the name of ``target``, if the claim cannot be written.
    """
    claim = target.with_name(f".{_short(target.name)}{_CLAIM}")
    descriptor = _acquired(claim, target, time.monotonic() + patience)
    try:
        if locks(descriptor) is not None:
            _remove_leftovers(claim.parent, claim)
        yield
    finally:
        with suppress(OSError):
            claim.unlink()
        os.close(descriptor)


def hidden_sibling(target: Path) -> Path:
    """A new name beside ``target`` for what becomes it; the suffix is the same."""
    return _sibling(target, f"calve-{secrets.token_hex(4)}")


def older_sibling(target: Path) -> Path:
    """The name for an older ``target`` while it is replaced in two steps."""
    return _sibling(target, _OLDER)


def _sibling(target: Path, infix: str) -> Path:
    name = Path(_short(target.name))
    return target.with_name(f".{name.stem}.{infix}{name.suffix}")


def _short(name: str) -> str:
    """The name, or a digest that stands for a long one."""
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + Path(name).suffix[:16]


def locks(descriptor: int) -> bool | None:
    """Lock an open file or directory, without waiting.

    Returns:
      Whether this process holds the lock now; None if the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a directory with all that is in it, as far as it can be removed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _acquired(claim: Path, target: Path, deadline: float) -> int:
    """The descriptor of the claim file, which this process holds."""
    while True:
        descriptor = _opened(claim, target)
        if locks(descriptor) is False:
            os.close(descriptor)
            _wait(target, deadline)
        elif _is_name_of(claim, descriptor):
            return descriptor
        else:  # Its holder has just removed it.
            os.close(descriptor)


def _wait(target: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise ConfigError(
            "another process is writing this output",
            where=target,
            fix="wait for it, stop it, or name another output",
        )
    time.sleep(_POLL)


def _opened(claim: Path, target: Path) -> int:
    try:
        claim.parent.mkdir(parents=True, exist_ok=True)
        return os.open(claim, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _is_name_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _remove_leftovers(folder: Path, own: Path) -> None:
    """Remove what processes left that were killed while they wrote into the folder."""
    try:
        names = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    except OSError:  # It may be written and not read.
        return
    for name in names:
        if not name.endswith(_CLAIM):
            continue
        claim = folder / name
        if claim == own:
            _remove_output_leftovers(folder, names, name)
        else:
            _remove_if_unclaimed(claim, names)


def _remove_if_unclaimed(claim: Path, names: list[str]) -> None:
    with suppress(OSError):
        descriptor = os.open(claim, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if locks(descriptor) and _is_name_of(claim, descriptor):
                _remove_output_leftovers(claim.parent, names, claim.name)
                claim.unlink()
        finally:
            os.close(descriptor)


def _remove_output_leftovers(folder: Path, names: list[str], claim_name: str) -> None:
    target = Path(claim_name.removeprefix(".").removesuffix(_CLAIM))
    stem, suffix = re.escape(target.stem), re.escape(target.suffix)
    pattern = re.compile(rf"\.{stem}\.calve-[0-9a-f]{{8}}{suffix}")
    for name in names:
        if pattern.fullmatch(name):
            remove(folder / name)
    older = older_sibling(folder / target)
    if older.name in names:
        _put_back(older, folder / target)


def _put_back(older: Path, target: Path) -> None:
    """Give an older output its name again, if the process was killed before the new one had it."""
    if os.path.lexists(target):
        remove(older)
    else:
        with suppress(OSError):
            older.rename(target)
