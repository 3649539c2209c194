"""Input files: checks before reading, and decoding of text.

A reader of any format calls `check_input` or `check_not_placeholder` before it opens a file, or on
its error path, so that a missing file, a broken link or a Git LFS pointer is not reported as a
damaged file.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from calve.common.suggest import did_you_mean
from calve.errors import CalveError

__all__ = [
    "LARGEST_INPUT",
    "InputProblem",
    "check_input",
    "check_inside",
    "check_not_placeholder",
    "check_size",
    "decoded_text",
    "input_problem",
    "is_git_lfs_pointer",
    "is_inside",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_text",
]

LARGEST_INPUT = 256 * 2**20
"""Bytes that a text, a manifest or a table may have: far more than any real one, and bearable."""

_DEEPEST = 64
"""Levels of lists and objects in JSON; what calve writes has fewer than ten."""


_GIT_LFS_POINTER = b"version https://git-lfs"

_SPECIAL_FILES = (
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


class InputProblem(NamedTuple):
    """A problem with an input file and its fix, as in a `CalveError`."""

    what: str
    fix: str | None = None


def input_problem(path: Path | str, kind: str = "file") -> InputProblem | None:
    """Return the problem that prevents reading; None for a regular file that is not empty.

    Args:
      path: The file. It is neither opened nor waited for unless it is a regular file.
      kind: What it should be, in words, for example "symbol table".
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _missing(path, kind)
    except OSError as error:
        return InputProblem(f"cannot read the file: {os.strerror(error.errno or 0)}")
    if stat.S_ISDIR(mode):
        return InputProblem(f"this is a folder, not a {kind}")
    for is_special, name in _SPECIAL_FILES:
        if is_special(mode):
            return InputProblem(
                f"this is a {name}, not a {kind}", "copy what it gives to a regular file"
            )
    try:
        with path.open("rb") as file:
            start = file.read(len(_GIT_LFS_POINTER))
    except OSError as error:
        return InputProblem(f"cannot read the file: {os.strerror(error.errno or 0)}")
    if not start:
        return InputProblem("this file is empty")
    if start == _GIT_LFS_POINTER:
        return InputProblem(
            f"this is a Git LFS pointer, not the {kind} itself",
            f"run: git lfs pull --include '*{path.name}'",
        )
    return None


def check_input(path: Path | str, kind: str = "file", error: type[CalveError] = CalveError) -> None:
    """Raise an error for the problem that `input_problem` finds, if any.

    Args:
      path: The file.
      kind: What it should be, in words.
      error: The error to raise.

    Raises:
      CalveError: of the class ``error``, if the file is missing, empty, a folder, a broken link, a
        pipe, a device or a Git LFS pointer, or may not be read.
    """
    problem = input_problem(path, kind)
    if problem is not None:
        raise error(problem.what, where=path, fix=problem.fix)


def check_size(
    path: Path, kind: str, error: type[CalveError], *, limit: int = LARGEST_INPUT
) -> None:
    """Refuse a file that is larger than a limit, before any of it is read.

    Raises:
      CalveError: of the class ``error``.
      OSError: if there is no such file.
    """
    if path.stat().st_size > limit:
        raise error(f"this is no {kind}: it has more than {limit} bytes", where=path)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, after all links on it, lies below a folder.

    Raises:
      OSError, RuntimeError, ValueError: if there can be no such file: a link to itself, a name that
        is too long or holds a NUL.
    """
    return path.resolve().is_relative_to(folder.resolve())


def check_inside(path: Path, folder: Path, kind: str, error: type[CalveError]) -> None:
    """Refuse a file of a folder from elsewhere that is a link to something outside of it.

    What such a link leads to may be anything that the user can read, and nothing that came with the
    folder.

    Raises:
      CalveError: of the class ``error``.
    """
    try:
        inside = is_inside(path, folder)
    except (OSError, RuntimeError, ValueError):
        return  # there is no such file
    if not inside:
        how = "is a link that leads" if path.is_symlink() else "lies"
        raise error(
            f"this {kind} {how} out of its folder",
            where=path,
            fix="copy the folder with the content of its links: cp -rL FOLDER COPY",
        )


def check_not_placeholder(path: Path | str, kind: str, error: type[CalveError]) -> None:
    """Refuse placeholders of a file: broken links and Git LFS pointers.

    For readers with their own messages for all other problems.

    Raises:
      CalveError: of the class ``error``.
    """
    path = Path(path)
    if is_git_lfs_pointer(path) or (not path.exists() and _broken_link(path)):
        check_input(path, kind, error)


def is_git_lfs_pointer(path: Path | str) -> bool:
    """Whether a regular file is only the pointer that Git LFS leaves in place of a large file."""
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(len(_GIT_LFS_POINTER)) == _GIT_LFS_POINTER
    except OSError:
        return False


def read_bytes(
    path: Path | str, kind: str, error: type[CalveError], *, limit: int = LARGEST_INPUT
) -> bytes:
    """Read a regular file as a whole.

    Args:
      path: The file. An empty one has no bytes.
      kind: What it should be, in words.
      error: The error to raise.
      limit: Largest number of bytes.

    Raises:
      CalveError: of the class ``error``, if the file cannot be read (`input_problem`) or has more
        bytes than the limit.
    """
    path = Path(path)
    problem = input_problem(path, kind)
    if problem is not None and not _is_empty(path):
        raise error(problem.what, where=path, fix=problem.fix)
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1) if path.stat().st_size <= limit else bytes(limit + 1)
    except OSError as cause:
        raise error(f"cannot read the {kind}: {cause.strerror}", where=path) from cause
    if len(data) > limit:
        raise error(f"this is no {kind}: it has more than {limit} bytes", where=path)
    return data


def parse_json(text: str | bytes) -> Any:
    """Parse untrusted JSON text.

    Raises:
      ValueError: if it is not JSON, or is nested more than 64 levels deep: what walks through it
        calls itself for each level.
    """
    too_deep = f"it is nested more than {_DEEPEST} levels deep"
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(too_deep) from None
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [inner for one in level for inner in _inner_values(one)]
        if not level:
            return value
    raise ValueError(too_deep)


def read_json(path: Path | str, kind: str, error: type[CalveError]) -> Any:
    """Read a JSON file with `read_text`.

    Raises:
      CalveError: of the class ``error``, if the file cannot be read, is not JSON or is nested more
        than 64 levels deep.
    """
    try:
        return parse_json(read_text(path, kind, error))
    except ValueError as cause:
        raise error(f"the {kind} is not valid JSON: {cause}", where=path) from cause


def read_text(path: Path | str, kind: str, error: type[CalveError]) -> str:
    """Read a text file: UTF-8 with or without a byte order mark; lines end with LF.

    Windows' line ends (CR LF) become LF, so that no line keeps an invisible character.

    Args:
      path: The file. An empty one is an empty text.
      kind: What it should be, in words.
      error: The error to raise.

    Raises:
      CalveError: of the class ``error``, if the file cannot be read (`read_bytes`) or is not
        UTF-8; it names the line.
    """
    return decoded_text(read_bytes(path, kind, error), path, kind, error)


def decoded_text(data: bytes, path: Path | str, kind: str, error: type[CalveError]) -> str:
    """Like `read_text`, for bytes that are already read (and perhaps decompressed).

    Args:
      data: The bytes.
      path: Where they come from, for messages.
      kind: What the file should be, in words.
      error: The error to raise.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise error(
            f"the {kind} is not UTF-8 text",
            where=f"{path}, line {line}",
            fix=_encoding_fix(data, kind),
        ) from None
    return text.replace("\r\n", "\n")


def _encoding_fix(data: bytes, kind: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16: save it as UTF-8"
    return f"save the {kind} as UTF-8; convert it with: iconv -f ENCODING -t UTF-8"


def _inner_values(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:
        return False


def _missing(path: Path, kind: str) -> InputProblem:
    link = _broken_link(path)
    if link is not None:
        return InputProblem(
            f"this is a link that points to {link.readlink()}, which does not exist"
            if link == path
            else f"the link {link} points to {link.readlink()}, which does not exist",
            "a relative link is read from the folder that it is in; make it again with: "
            "ln -sfr TARGET LINK",
        )
    try:
        siblings = [file.name for file in path.parent.iterdir()]
    except OSError:
        siblings = []
    return InputProblem(f"there is no such {kind}", did_you_mean(path.name, siblings))


def _broken_link(path: Path) -> Path | None:
    """Return the broken link: the file itself or one of its folders."""
    for one in (path, *path.parents):
        if one.is_symlink() and not one.exists():
            return one
    return None
