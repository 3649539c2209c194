"""Atomic files and directories, and system errors about files.

An output is written under a temporary name, flushed to the disk with ``fsync`` and renamed. Without
the flush a file system may store the rename before the content, and a power failure then leaves an
empty file under the final name.

Packages for atomic files replace single files only. calve also replaces directories (bundles,
prepared data), removes folders that it created for a failed output, and distinguishes outputs that
cannot be written from inputs that cannot be read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from calve.common.claims import claimed, hidden_sibling, older_sibling, remove
from calve.common.renaming import exchange, rename_new
from calve.common.scratch import locked_scratch
from calve.errors import CalveError, ConfigError

__all__ = [
    "atomic_dir",
    "atomic_file",
    "check_writable",
    "file_sha256",
    "missing_folders",
    "naming_errors",
    "remove_empty",
    "replace_dir",
    "scratch_folder",
    "writing_explained",
]

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Errors that only writing raises. The system does not name a file that is already open."""

_PATIENCE = 0.5
"""Seconds in which another process looks whether the one that claimed an output is alive."""
_LONG_PATIENCE = 60.0
"""Seconds to wait for another process: a file that may be replaced is written by one after the
other."""

_FULL = 2**20
"""Number of free bytes below which a disk counts as full."""


@contextmanager
def atomic_file(path: Path | str, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name beside ``path``; rename it when the block succeeds.

    The temporary name keeps the suffix of ``path``, since some writers choose by it. The content
    is on the disk before the rename. On any exception, Ctrl-C included, the temporary file is
    removed and an older ``path`` is left as it was. What a killed process left there is removed.

    Yields:
      The path to write to; it does not exist yet, its parent does.

    Raises:
      ConfigError: if ``path`` is a directory, a pipe or a device, if it exists, now or when the
        block ends, and ``overwrite`` is false, or if another process is writing it.
      CalveError: if the disk is full or cannot be written.
    """
    target = _with_name(Path(path))
    temporary = hidden_sibling(target)
    with _explained(temporary, target):
        if target.is_dir():
            raise ConfigError("the output is a directory, not a file", where=target)
        if target.exists() and not target.is_file():
            raise ConfigError("the output is a pipe or a device, not a file", where=target)
        _refuse_existing(target, overwrite)
        patience = _LONG_PATIENCE if overwrite else _PATIENCE
        with _claimed(target, patience), _removed_afterwards(temporary):
            _refuse_existing(target, overwrite)
            yield temporary
            _flush(temporary)
            if overwrite:
                temporary.replace(target)
            else:
                _name_new(temporary, target)
            _flush_folder(target.parent)


@contextmanager
def atomic_dir(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Fill a directory under a temporary name beside ``path``; rename it when the block succeeds.

    With ``overwrite`` the older directory is replaced only after the new one is complete and on
    the disk. What a killed process left there is removed.

    Yields:
      An empty directory to write into.

    Raises:
      ConfigError: if ``path`` is a file, the current directory or one above it, if it exists, now
        or when the block ends, and ``overwrite`` is false, or if another process is writing it.
      CalveError: if the disk is full or cannot be written.
    """
    target = _with_name(Path(path))
    _refuse_current(target)
    temporary = hidden_sibling(target)
    with _explained(temporary, target):
        if target.exists() and not target.is_dir():
            raise ConfigError("the output is a file, not a directory", where=target)
        _refuse_existing(target, overwrite)
        with _claimed(target, _PATIENCE), _removed_afterwards(temporary):
            _refuse_existing(target, overwrite)
            temporary.mkdir()
            yield temporary
            _flush_tree(temporary)
            if overwrite:
                _put_in_place(temporary, target)
            else:
                _name_new(temporary, target)
            _flush_folder(target.parent)


def _with_name(path: Path) -> Path:
    """The same place by a path that ends in a name, not in "." or "..".

    Raises:
      ConfigError: if it is the root of the file system, which has no name.
    """
    if path.name not in ("", ".."):
        return path
    place = Path(os.path.realpath(path))
    if not place.name:
        raise ConfigError(
            "the output is the root directory",
            where=path,
            fix="name a file or a directory in it",
        )
    return place


def _refuse_current(target: Path) -> None:
    """Refuse the current directory and its parents, which cannot be replaced while in use."""
    place = Path(os.path.realpath(target.parent)) / target.name
    current = Path(os.path.realpath("."))
    if place == current or place in current.parents:
        raise ConfigError(
            "the output is the current directory or one above it",
            where=target,
            fix="name a new directory, for example --output NAME",
        )


def _refuse_existing(target: Path, overwrite: bool) -> None:
    target.exists()  # Unlike `os.path.lexists`, it raises what the system says of an odd name.
    if not overwrite and os.path.lexists(target):
        raise _existing("the output exists already", target)


def _existing(what: str, target: Path) -> ConfigError:
    return ConfigError(what, where=target, fix="name another output, or give --overwrite")


def _name_new(temporary: Path, target: Path) -> None:
    """Give an output its name, unless something has got that name in the meantime."""
    try:
        rename_new(temporary, target)
    except FileExistsError as error:
        what = "something of this name has appeared while the output was made; it is left alone"
        raise _existing(what, target) from error


@contextmanager
def _explained(temporary: Path, target: Path) -> Iterator[None]:
    """Convert a system error about the output to a `CalveError`."""
    try:
        yield
    except OSError as error:
        if _is_of_another_file(error, temporary, target):
            raise
        what, fix = "cannot write the output", "free some space or choose another place"
        if error.errno == errno.EIO and not _names_only(error, temporary, target):
            # Reading ends in this error as well.
            what += ", or cannot read a file that it is made from"
            fix = "check the disks that hold them"
        raise CalveError(
            f"{what}: {error.strerror or error}",
            where=target,
            fix=f"{fix}; nothing was left behind",
        ) from error


@contextmanager
def _claimed(target: Path, patience: float) -> Iterator[None]:
    """Claim an output, and afterwards remove the folders that were made for it if it failed."""
    missing = missing_folders(target.parent)
    try:
        with claimed(target, patience=patience):
            yield
    finally:
        remove_empty(missing)


@contextmanager
def _removed_afterwards(temporary: Path) -> Iterator[None]:
    """Remove what was not renamed."""
    try:
        yield
    finally:
        remove(temporary)


def missing_folders(folder: Path) -> list[Path]:
    """The folders that must be made for ``folder`` to exist, the deepest first."""
    return [one for one in (folder, *folder.parents) if not one.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty; give the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing and try to write in it, before hours of work depend on it.

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
    """Explain errors of the system in a block that uses no file but ``where``.

    Args:
      what: What is written, in words.
      where: The file or folder.
      fix: What the person can do about it.

    Raises:
      CalveError: if the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CalveError(f"cannot write {what}: {reason}", where=where, fix=fix) from error


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Add the name of the file to errors of the system, in a block that uses no other file.

    The system names a file that cannot be opened, but not one that cannot be read afterwards.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder for temporary files, removed after the block; those of killed processes before.

    Args:
      prefix: "calve-PURPOSE-".

    Raises:
      CalveError: if it cannot be made, or its disk is full.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(locked_scratch(prefix))
        except OSError as error:
            raise _scratch_error(error) from error
        try:
            yield folder
        except OSError as error:
            if error.errno != errno.ENOSPC or shutil.disk_usage(folder).free >= _FULL:
                raise
            raise _scratch_error(error) from error


def _scratch_error(error: OSError) -> CalveError:
    return CalveError(
        f"cannot write temporary files: {error.strerror}",
        where=tempfile.tempdir,
        fix="free some space there, or name another folder in TMPDIR",
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
      OSError: with the name of the file, if it cannot be read, or is a pipe or a device, which may
        never end.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    digest = hashlib.sha256()
    with naming_errors(path), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _is_of_another_file(error: OSError, temporary: Path, target: Path) -> bool:
    named = _named(error)
    if not named:
        return error.errno not in {*_WRITE_ERRORS, errno.EIO}
    return not any(_belongs(name, temporary, target) for name in named)


def _names_only(error: OSError, temporary: Path, target: Path) -> bool:
    named = _named(error)
    return bool(named) and all(_belongs(name, temporary, target) for name in named)


def _named(error: OSError) -> list[Path]:
    return [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name]


def _belongs(name: Path, temporary: Path, target: Path) -> bool:
    """Whether a file is the output, a part of it, or a folder in which it lies."""
    return name in (temporary, target) or temporary in name.parents or name in target.parents


def _flush(path: Path) -> None:
    """Flush the content of a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    """Flush the names in a folder to the disk; some file systems support that for files only."""
    with suppress(OSError):
        _flush(path)


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        elif path.is_file():
            _flush(path)
    _flush_folder(folder)


def replace_dir(temporary: Path, target: Path) -> None:
    """Flush ``temporary`` to the disk, rename it to ``target``, remove the older directory.

    If ``target`` is a link, the directory that it names is kept.
    """
    _flush_tree(temporary)
    with claimed(target, patience=_LONG_PATIENCE):
        # Under a hidden name of ours, what remains of a kill is known and removed.
        staged = temporary.rename(hidden_sibling(target))
        _put_in_place(staged, target)
        _flush_folder(target.parent)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename to ``target``; the older one is there until the new one is."""
    if exchange(temporary, target):
        remove(temporary)
        return
    older = older_sibling(target)
    with suppress(FileNotFoundError):
        target.rename(older)
    try:
        temporary.rename(target)
    except BaseException:
        with suppress(FileNotFoundError):
            older.rename(target)
        raise
    remove(older)
