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

# What the import or a hook raises is found again, with its traceback, when calve calls it.
# The file says that the process came this far by itself.
_SCRIPT = """
import importlib, itertools, sys
target, done = sys.argv[1:]
module, _, attributes = target.partition(":")
try:
    plugin = importlib.import_module(module)
    for name in filter(None, attributes.split(".")):
        plugin = getattr(plugin, name)
    for name in dir(plugin):
        hook = getattr(plugin, name)
        if name.startswith("calve_register_") and hasattr(hook, "calve_impl"):
            try:
                list(itertools.islice(hook(), 100_000))
            except BaseException:
                pass
except BaseException:
    pass
open(done, "w").close()
"""
_SHOWN = 60
_ENDED = "ended the process with exit code 0"


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
    # What cannot be an argument of a process is no name of a module either, and fails at import.
    sources = [source for source in sources if "\0" not in source.target]
    with tempfile.TemporaryDirectory() as folder:
        children = [
            Child(
                name=f"import-{index}",
                command=(sys.executable, "-c", _SCRIPT, source.target.strip(), _done(index)),
                folder=Path(folder),
                time_limit=time_limit,
                keep_stdout=True,
            )
            for index, source in enumerate(sources)
        ]
        outcomes = list(zip(sources, run_children(children), strict=True))
        failures = [
            outcome.failure or (None if Path(folder, _done(index)).exists() else _ENDED)
            for index, (_, outcome) in enumerate(outcomes)
        ]
    return ImportProbe(
        fatal=tuple(
            _fatal(source, failure)
            for source, failure in zip(sources, failures, strict=True)
            if failure is not None
        ),
        noisy=tuple(_noisy(source, outcome) for source, outcome in outcomes if outcome.stdout),
    )


def _done(index: int) -> str:
    return f"import-{index}.done"


def _fatal(source: PluginSource, failure: str) -> Problem:
    cause = (
        f"importing {source.target} and calling its hooks {failure}; "
        f"uninstall {source.distribution}, or leave it out with CALVE_DISABLE_PLUGINS={source.name}"
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
