"""Temporary folders of the kit."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from calve.testing.checks import names_of, require

__all__ = ["kept_folder", "leaving_nothing_behind", "temporary_folder"]

_PREFIX = "calve-conformance-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder for the ``with`` block."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield Path(folder)


def kept_folder() -> Path:
    """A new empty folder that exists until the process ends."""
    return Path(tempfile.mkdtemp(dir=_kept().name))


@functools.cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=_PREFIX)


@contextmanager
def leaving_nothing_behind() -> Iterator[Path]:
    """A folder for the output of the block, which must write nowhere else that we can see.

    Nothing may be left in the working directory and in the folder for temporary files, nor beside
    the output, which is to be called "output".
    """
    with temporary_folder() as place:
        for name in ("work", "temporary", "target"):
            (place / name).mkdir()
        before = Path.cwd()
        os.chdir(place / "work")
        try:
            with mock.patch.object(tempfile, "tempdir", str(place / "temporary")):
                yield place / "target"
        finally:
            os.chdir(before)
        for name, where in (
            ("work", "in the working directory"),
            ("temporary", "among temporary files"),
            ("target", "beside the output"),
        ):
            left = {path.name for path in (place / name).iterdir()} - {"output"}
            require(not left, f"it leaves {names_of(left)} {where}")
