"""Limits on the output of plugins while they are imported and called.

Only results of commands belong on stdout. The first lines that a plugin prints go to stderr; the
rest is dropped.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

from calve.common.printable import printable
from calve.common.terminal import print_to_stderr
from calve.registry.plugin_sources import PluginSource

__all__ = ["MOST_LINES", "output_limited"]

MOST_LINES = 5
"""Lines that one plugin may print each time."""


@contextmanager
def output_limited(source: PluginSource) -> Iterator[None]:
    """Send what a plugin prints in this block to stderr, and cut it after `MOST_LINES` lines."""
    output = _FirstLines()
    with redirect_stdout(output), redirect_stderr(output):
        yield
    output.flush()
    if output.hidden:
        print_to_stderr(f"calve: {source} printed more, which is not shown")


class _FirstLines(io.TextIOBase):
    """Writes whole lines to stderr until there are too many.

    Attributes:
      hidden: Whether something was left out.
    """

    def __init__(self) -> None:
        # In the block that redirects it, sys.stderr is this object.
        self._stderr = sys.stderr
        self._line = ""
        self._lines = 0
        self.hidden = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not self.hidden:
            *lines, self._line = (self._line + text).split("\n")
            for line in lines:
                self._print(line)
        return len(text)

    def flush(self) -> None:
        if self._line:
            self._print(self._line)
        self._line = ""

    def _print(self, line: str) -> None:
        self._lines += 1
        if self._lines > MOST_LINES:
            self.hidden = True
        else:
            with suppress(OSError, ValueError, AttributeError):  # closed, full or absent
                self._stderr.write(f"{printable(line)}\n")
