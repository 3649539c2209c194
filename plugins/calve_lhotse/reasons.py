"""Explanations of lhotse's read errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calve.api import DataError
from calve.common.exceptions import describe

__all__ = ["cuts_explained", "reason"]

_FIX = "run stage `validate` of `calve prepare`: it says what to make again"


def reason(error: Exception) -> str:
    """The cause in one line, without the manifests that lhotse adds to it."""
    return describe(error).partition(" [extra info]")[0]


@contextmanager
def cuts_explained(path: Path, fix: str = _FIX) -> Iterator[None]:
    """Inside the block, cuts are read from a file.

    Args:
      path: The file.
      fix: What to do if it is damaged.

    Raises:
      DataError: if that fails; one that is raised in the block says enough.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # A file may be no archive, end early, hold no JSON, or JSON that is no cut.
        raise DataError(f"cannot read the cuts: {reason(error)}", where=path, fix=fix) from error
