"""Warns when a plugin or a driver is slow to import."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from calve.common.terminal import print_to_stderr
from calve.registry.plugin_sources import PluginSource

__all__ = ["PATIENCE", "driver_delays_explained", "plugin_delays_explained"]

PATIENCE = 10.0
"""Seconds after which the warning names the plugin or driver."""


def plugin_delays_explained(action: str, source: PluginSource) -> AbstractContextManager[None]:
    """Print one line on stderr if the block takes longer than `PATIENCE`; do not stop it.

    A plugin that hangs looks like a slow one, and a thread cannot end another. The user decides
    whether to wait.

    Args:
      action: The action in the block, for example "importing".
      source: The plugin; for bundled plugins nothing is printed.
    """
    way_out = f"CALVE_DISABLE_PLUGINS={source.name} or --no-plugins leaves it out"
    return _delays_explained(f"{action} {source}", way_out, source)


def driver_delays_explained(namespace: str, source: PluginSource) -> AbstractContextManager[None]:
    """As `plugin_delays_explained`, for the import of a driver.

    The user selected the driver by name, so the command would fail without it.

    Args:
      namespace: Namespace of the driver, for example "calve.runtimes".
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
    wait = _Wait(time.monotonic() + PATIENCE, line)
    _WATCHER.begin(wait)
    try:
        yield
    finally:
        _WATCHER.end(wait)


@dataclass(eq=False)
class _Wait:
    """A message and the time at which it is due."""

    deadline: float
    line: str


class _Watcher:
    """Prints due messages. One thread serves all; a hundred threads would take 30 ms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: list[_Wait] = []
        self._running = False

    def begin(self, wait: _Wait) -> None:
        with self._lock:
            self._waits.append(wait)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True).start()

    def end(self, wait: _Wait) -> None:
        with self._lock:
            if wait in self._waits:
                self._waits.remove(wait)

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                due = [wait for wait in self._waits if wait.deadline <= now]
                self._waits = [wait for wait in self._waits if wait.deadline > now]
                self._running = bool(self._waits)
                pause = self._waits[0].deadline - now if self._waits else None
            for wait in due:
                print_to_stderr(wait.line)
            if pause is None:
                return
            # What begins meanwhile is due later.
            time.sleep(pause)


_WATCHER = _Watcher()
