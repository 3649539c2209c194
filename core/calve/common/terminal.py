"""Messages on stderr, wherever stderr leads."""

from __future__ import annotations

import sys
from contextlib import suppress

__all__ = ["print_to_stderr"]


def print_to_stderr(text: str) -> None:
    """Write ``text`` and a line end to stderr.

    A message is never worth the work that it is about: where stderr is closed or full, the text is
    lost and nothing is raised.
    """
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
