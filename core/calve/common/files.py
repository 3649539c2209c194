"""Outputs that appear whole or not at all, and what is said of files."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calve.errors import CalveError, ConfigError

__all__ = [
    "atomic_dir",
    "atomic_file",
    "check_writable",
    "file_sha256",
    "missing_folders",
    "remove_empty",
    "replace_dir",
    "size_text",
    "writing_explained",
]

_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@contextmanager
def atomic_file(path: Path | str, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name beside ``path``; rename it when the block ends well.

    The temporary name keeps the suffix of ``path``, since some writers choose by it. On any
    exception, Ctrl-C included, it is removed and an older ``path`` is left as it was.

    Yields:
      The path to write to; it does not exist yet, its parent does.

    Raises:
      ConfigError: if ``path`` is a directory, or exists and ``overwrite`` is false.
      CalveError: if the disk is full or cannot be written.
    """
    target = Path(path)
    temporary = _hidden_sibling(target)
    with _explained(temporary, target):
        if target.is_dir():
            raise ConfigError("the output is a directory, not a file", where=target)
        _refuse_existing(target, overwrite)
        with _removed_afterwards(temporary):
            yield temporary
            temporary.replace(target)


@contextmanager
def atomic_dir(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Fill a directory under a temporary name beside ``path``; rename it when the block ends well.

    With ``overwrite`` the older directory is replaced only after the new one is complete.

    Yields:
      An empty directory to write into.

    Raises:
      ConfigError: if ``path`` is a file, or exists and ``overwrite`` is false.
      CalveError: if the disk is full or cannot be written.
    """
    target = Path(path)
    temporary = _hidden_sibling(target)
    with _explained(temporary, target):
        if target.exists() and not target.is_dir():
            raise ConfigError("the output is a file, not a directory", where=target)
        _refuse_existing(target, overwrite)
        with _removed_afterwards(temporary):
            temporary.mkdir()
            yield temporary
            replace_dir(temporary, target)


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if not overwrite and target.exists():
        raise ConfigError(
            "the output exists already",
            where=target,
            fix="name another output, or give --overwrite",
        )


@contextmanager
def _explained(temporary: Path, target: Path) -> Iterator[None]:
    """An error of the system that concerns the output says so."""
    try:
        yield
    except OSError as error:
        if not _concerns(error, temporary, target):
            raise
        raise CalveError(
            f"cannot write the output: {os.strerror(error.errno or errno.EIO)}",
            where=target,
            fix="free some space or choose another place; nothing was left behind",
        ) from error


@contextmanager
def _removed_afterwards(temporary: Path) -> Iterator[None]:
    """Whatever was not renamed goes, and so do folders that were made for it."""
    missing = missing_folders(temporary.parent)
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        _remove(temporary)
        remove_empty(missing)


def missing_folders(folder: Path) -> list[Path]:
    """What must be made for ``folder`` to exist, the deepest first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the deepest first; one in which somebody put something stays."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def check_writable(folder: Path) -> None:
    """Make a folder if need be, before hours are spent on what is to go into it.

    Raises:
      CalveError: if nothing can be written there.
    """
    fix = "free some space or choose another place"
    with writing_explained("into the folder", folder, fix):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def writing_explained(what: str, where: Path, fix: str) -> Iterator[None]:
    """Inside the block, nothing but ``where`` is written; ``what`` it is, in words.

    Raises:
      CalveError: if the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise CalveError(f"cannot write {what}: {reason}", where=where, fix=fix) from error


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hidden_sibling(target: Path) -> Path:
    return target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")


def _concerns(error: OSError, temporary: Path, target: Path) -> bool:
    """Whether ``error`` is about writing the output rather than about something read."""
    if error.errno in _STORAGE_ERRORS:
        return True
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name]
    return any(
        name in (temporary, target) or temporary in name.parents or name in target.parents
        for name in named
    )


def replace_dir(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target`` and remove the directory that was there before.

    `os.replace` refuses that unless the older directory is empty. Of a link, what it names stays.
    """
    retired = _hidden_sibling(target)
    with suppress(FileNotFoundError):
        target.rename(retired)
    try:
        temporary.rename(target)
    except BaseException:
        with suppress(FileNotFoundError):
            retired.rename(target)
        raise
    _remove(retired)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def size_text(size: int) -> str:
    """Bytes as ``ls -lh`` writes them: in powers of 1024, rounded up."""
    if size < 1024:
        return f"{size} B"
    power = min(int(math.log2(size)) // 10, 3)
    unit = ("KB", "MB", "GB")[power - 1]
    tenths = math.ceil(size / 1024**power * 10)
    return f"{tenths / 10:.1f} {unit}" if tenths < 100 else f"{math.ceil(tenths / 10)} {unit}"
