"""Reports on plugins: registered names, problems, and a check that imports all references."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calve.common.exceptions import describe
from calve.common.references import LazyRef, Resource
from calve.common.suggest import did_you_mean
from calve.errors import PluginError
from calve.registry.catalog import Registry
from calve.registry.plugin_sources import PluginSource, Problem

__all__ = ["PluginReport", "check_references", "reports", "reports_named"]


@dataclass(frozen=True)
class PluginReport:
    """Report on one installed plugin.

    Attributes:
      source: Origin of the plugin.
      status: "ok", "broken" (it has problems; the rest of it may work) or "disabled".
      hooks: Implemented hooks.
      registers: Registered names by kind ("encoder", "recipe", ...).
      problems: Problems of the plugin.
    """

    source: PluginSource
    status: str
    hooks: tuple[str, ...]
    registers: dict[str, list[Any]]
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``; a name of two parts is a list."""
        return {
            "name": self.source.name,
            "distribution": self.source.distribution,
            "version": self.source.version,
            "target": self.source.target,
            "status": self.status,
            "hooks": list(self.hooks),
            "registers": self.registers,
            "problems": [{"stage": p.stage, "cause": p.cause} for p in self.problems],
        }


def reports(registry: Registry) -> list[PluginReport]:
    """Report on every installed plugin in order, including broken and disabled ones."""
    sources = {
        *registry.host.sources,
        *registry.host.disabled,
        *(problem.source for problem in registry.problems),
    }
    return [_report(registry, source) for source in sorted(sources, key=lambda s: s.order)]


def reports_named(registry: Registry, name: str) -> list[PluginReport]:
    """Report on the plugins called ``name``; several distributions may use the same name.

    Raises:
      PluginError: if there is none.
    """
    everything = reports(registry)
    found = [report for report in everything if report.source.name == name]
    if not found:
        names = sorted({report.source.name for report in everything})
        raise PluginError(
            f"there is no plugin {name!r}",
            fix=did_you_mean(name, names) or f"installed: {', '.join(names) or 'none'}",
        )
    return found


def check_references(registry: Registry, source: PluginSource) -> list[Problem]:
    """Import everything that the specs of a plugin refer to; slow, since torch may be among it."""
    problems = [
        Problem(source, hook, "the function is not marked with @hookimpl, so it is never called")
        for hook in registry.host.unmarked_hooks_of(source)
    ]
    for table in registry.tables:
        for name, spec in table.specs_of(source):
            for reference in dict.fromkeys(_references(spec)):
                try:
                    _follow(reference)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    problems.append(Problem(source, f"{table.kind} {name}", describe(error), error))
            if table is registry.recipes and spec.encoder not in registry.encoders:
                cause = f"its encoder {spec.encoder!r} is not registered"
                problems.append(Problem(source, f"{table.kind} {name}", cause))
    return problems


def _report(registry: Registry, source: PluginSource) -> PluginReport:
    problems = tuple(problem for problem in registry.problems if problem.source == source)
    disabled = source in registry.host.disabled
    registers = {table.kind: table.of(source) for table in registry.tables}
    return PluginReport(
        source=source,
        status="disabled" if disabled else "broken" if problems else "ok",
        hooks=registry.host.hooks_of(source),
        registers={kind: names for kind, names in registers.items() if names},
        problems=problems,
    )


def _references(value: Any) -> Iterator[LazyRef | Resource]:
    """Every reference in a spec, however deep."""
    if isinstance(value, (LazyRef, Resource)):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _references(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _references(getattr(value, field.name))


def _follow(reference: LazyRef | Resource) -> None:
    if isinstance(reference, LazyRef):
        reference.load()
        return
    with reference.as_file() as path:
        if not path.exists():
            raise PluginError(f"{reference.package} has no {reference.path}")
