"""Messages on stderr, even if stderr is closed or full."""

from __future__ import annotations

import sys
from contextlib import suppress

from calve.common.printable import printable

__all__ = ["print_to_stderr"]


def print_to_stderr(text: str) -> None:
    """Write ``text`` and a line end to stderr; control characters are shown as escapes.

    A message must not stop the work: if stderr is closed or full, the text is lost and no exception
    is raised.
    """
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)
