"""Renames that `os` does not offer: one that never replaces, and one that exchanges two names.

Both are one step of the file system where Linux has ``renameat2``, so that no other process and no
kill comes in between. Elsewhere they are made of the steps that POSIX has.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchange", "rename_new"]

_CURRENT_FOLDER = -100
"""AT_FDCWD: relative paths start at the current directory."""
_NO_REPLACE = 1
_EXCHANGE = 2
_NOT_OFFERED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or a directory; whatever has the name ``target`` already is left alone.

    Raises:
      FileExistsError: if anything has that name, be it a link that leads nowhere.
      OSError: if it cannot be renamed.
    """
    if _renameat2(source, target, _NO_REPLACE):
        return
    if source.is_dir():
        # An empty directory can be replaced by a directory, and only by one.
        target.mkdir()
        source.rename(target)
    else:
        os.link(source, target, follow_symlinks=False)
        source.unlink()


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or directories in one step.

    Returns:
      Whether it was done; false if ``other`` does not exist or the file system cannot do it.

    Raises:
      OSError: if they cannot be renamed.
    """
    if not os.path.lexists(other):
        return False
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Call the system; false if it does not offer this here."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    arguments = (_CURRENT_FOLDER, os.fsencode(source), _CURRENT_FOLDER, os.fsencode(target))
    if function(*arguments, ctypes.c_uint(flags)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
