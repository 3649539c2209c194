"""Saying what calve waits for when a plugin keeps it waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from calve.discovery import PluginSource

__all__ = ["PATIENCE", "delays_explained"]

PATIENCE = 5.0
"""Seconds after which a plugin that calve waits for is named."""


@contextmanager
def delays_explained(action: str, source: PluginSource) -> Iterator[None]:
    """Print one line on stderr if the block takes longer than `PATIENCE`; nothing is stopped.

    What hangs looks like what is slow, and no thread can end another: whether to go on waiting is
    left to the person at the terminal.

    Args:
      action: What is done with the plugin in the block, as in "importing".
      source: The plugin; for calve's own, nothing is ever printed.
    """
    if source.is_builtin:
        yield
        return
    line = (
        f"calve: still {action} {source} after {PATIENCE:g} s; Ctrl-C ends it, and "
        f"CALVE_DISABLE_PLUGINS={source.name} or --no-plugins leaves it out"
    )
    timer = threading.Timer(PATIENCE, click.echo, (line,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
