"""Saying what calve waits for when a plugin or a driver keeps it waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from calve.discovery import PluginSource

__all__ = ["PATIENCE", "driver_delays_explained", "plugin_delays_explained"]

PATIENCE = 10.0
"""Seconds after which a plugin or driver that calve waits for is named."""


def plugin_delays_explained(action: str, source: PluginSource) -> AbstractContextManager[None]:
    """Print one line on stderr if the block takes longer than `PATIENCE`; nothing is stopped.

    What hangs looks like what is slow, and no thread can end another: whether to go on waiting is
    left to the person at the terminal.

    Args:
      action: What is done with the plugin in the block, as in "importing".
      source: The plugin; for calve's own, nothing is ever printed.
    """
    way_out = f"CALVE_DISABLE_PLUGINS={source.name} or --no-plugins leaves it out"
    return _delays_explained(f"{action} {source}", way_out, source)


def driver_delays_explained(namespace: str, source: PluginSource) -> AbstractContextManager[None]:
    """As `plugin_delays_explained`, while a driver is imported.

    It was chosen by name, so to leave it out would end the command with an error.

    Args:
      namespace: The driver's, as in "calve.runtimes".
      source: The driver.
    """
    driver = f"the driver {source.name!r} of {namespace} ({source.distribution} {source.version})"
    way_out = "only commands that use it wait for it"
    return _delays_explained(f"importing {driver}", way_out, source)


@contextmanager
def _delays_explained(action: str, way_out: str, source: PluginSource) -> Iterator[None]:
    if source.is_builtin:
        yield
        return
    line = f"calve: still {action} after {PATIENCE:g} s; Ctrl-C ends it, and {way_out}"
    timer = threading.Timer(PATIENCE, click.echo, (line,), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
