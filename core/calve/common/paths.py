"""Listing folders, and paths that other libraries than Python's can open."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path

from calve.errors import CalveError

__all__ = ["check_native_path", "is_native_path", "visible_files"]


def is_native_path(path: PathLike[str] | str) -> bool:
    """Whether libraries written in C++ can be given a path from Python: it is UTF-8."""
    try:
        fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_native_path(path: PathLike[str] | str, error: type[CalveError]) -> None:
    """Refuse a path in which runtimes could open no file.

    Args:
      path: A folder or a file; the folders above it count too.
      error: What to raise.

    Raises:
      CalveError: an ``error``, if the path is not UTF-8.
    """
    absolute = Path(path).absolute()
    if not is_native_path(absolute):
        raise error(
            "the path is not UTF-8, and the libraries that run networks cannot open files there",
            where=absolute,
            fix="give the folder another name, for example one in ASCII",
        )


def visible_files(folder: Path, pattern: str) -> Iterator[Path]:
    """List the files below a folder that match a pattern, except hidden ones.

    macOS writes a ``._NAME`` beside each NAME that it copies to another system; it ends alike and
    holds something else.

    Args:
      folder: Where to look. It may be hidden itself.
      pattern: See `pathlib.Path.glob`.
    """
    for path in folder.glob(pattern):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
