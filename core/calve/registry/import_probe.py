"""Trial imports of plugins in child processes.

A plugin may hang, end the process or write to stdout. No guard inside a process helps against the
first two, so ``calve plugins check`` looks for them before it imports anything itself.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calve.common.children import Child, Outcome, run_children
from calve.registry.plugin_sources import PluginSource, Problem

__all__ = ["ImportProbe", "probe_imports"]

# What an import raises is found again, with its traceback, by whoever imports it in earnest.
_SCRIPT = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1])
except BaseException:
    pass
"""
_SHOWN = 60


@dataclass(frozen=True)
class ImportProbe:
    """Result of the trial imports.

    Attributes:
      fatal: Plugins that must not be imported: they did not return, or ended the process.
      noisy: Plugins that wrote to stdout.
    """

    fatal: tuple[Problem, ...]
    noisy: tuple[Problem, ...]


def probe_imports(sources: Sequence[PluginSource], time_limit: float) -> ImportProbe:
    """Import each plugin in a child process.

    Args:
      sources: The plugins.
      time_limit: Seconds that one import may take.
    """
    with tempfile.TemporaryDirectory() as folder:
        children = [
            Child(
                name=f"import-{index}",
                command=(sys.executable, "-c", _SCRIPT, source.target.partition(":")[0].strip()),
                folder=Path(folder),
                time_limit=time_limit,
                keep_stdout=True,
            )
            for index, source in enumerate(sources)
        ]
        outcomes = list(zip(sources, run_children(children), strict=True))
    return ImportProbe(
        fatal=tuple(_fatal(source, outcome) for source, outcome in outcomes if outcome.failure),
        noisy=tuple(_noisy(source, outcome) for source, outcome in outcomes if outcome.stdout),
    )


def _fatal(source: PluginSource, outcome: Outcome) -> Problem:
    cause = (
        f"importing {source.target} {outcome.failure}; uninstall {source.distribution}, "
        f"or leave it out with CALVE_DISABLE_PLUGINS={source.name}"
    )
    return Problem(source, "load", cause)


def _noisy(source: PluginSource, outcome: Outcome) -> Problem:
    text = " ".join(outcome.stdout.split())
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    cause = (
        f"importing {source.target} writes to stdout, where results belong: {shown!r}; "
        f"{source.distribution} should use logging, or stderr"
    )
    return Problem(source, "load", cause)
