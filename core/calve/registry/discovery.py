"""Discovery and loading of plugins and drivers by entry points, with stevedore.

Three guards protect calve from every plugin. This module contains the first: a failure while a
plugin is found or imported becomes a `Problem` of that plugin, and the others load normally.

Plugin code runs with all permissions of the user. ``CALVE_DISABLE_PLUGINS`` names plugins that are
not loaded, separated by commas; ``all`` disables every plugin that does not come with calve.
``CALVE_ALLOW_PLUGINS`` names distributions; only their plugins and calve's own are loaded. Both
also apply to drivers.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stevedore.driver import DriverManager
from stevedore.extension import ExtensionManager

from calve.common.exceptions import describe
from calve.common.suggest import did_you_mean
from calve.errors import PluginError
from calve.registry.own_distribution import is_calve_itself
from calve.registry.plugin_output import output_limited
from calve.registry.plugin_sources import PluginSource, Problem
from calve.registry.requirements import facts_of, unmet_requirement
from calve.registry.waiting import driver_delays_explained, plugin_delays_explained

__all__ = [
    "PLUGINS",
    "Discovery",
    "discover",
    "driver_names",
    "load_driver",
    "outside_plugins",
]

if TYPE_CHECKING:
    _AnyExtensionManager = ExtensionManager[Any]
    _AnyDriverManager = DriverManager[Any]
else:  # Before its typed releases stevedore's managers are not generic.
    _AnyExtensionManager = ExtensionManager
    _AnyDriverManager = DriverManager

PLUGINS = "calve.plugins"


@dataclass(frozen=True)
class Discovery:
    """Result of discovery in the group ``calve.plugins``.

    Attributes:
      modules: The loaded plugins, in order.
      disabled: Plugins disabled by the environment.
      problems: Problems of plugins that could not be loaded.
    """

    modules: Mapping[PluginSource, Any]
    disabled: tuple[PluginSource, ...]
    problems: tuple[Problem, ...]


def outside_plugins() -> list[PluginSource]:
    """List the third-party plugins that `discover` would import, without importing them."""
    found = {
        _source_of(entry_point)
        for entry_point in _entry_points(PLUGINS)[0]
        if unmet_requirement(facts_of(entry_point.dist)) is None
    }
    outside = (source for source in found if not (source.is_builtin or _is_disabled(source)))
    return sorted(outside, key=lambda source: source.order)


def discover(fatal: Collection[Problem] = ()) -> Discovery:
    """Find and load every enabled plugin; no plugin can make this function fail.

    Args:
      fatal: Plugins known to hang or to end the process; they are not imported.
    """
    manager = _PluginManager(fatal)
    loaded = sorted(
        ((_source_of(ext.entry_point), ext.plugin) for ext in manager.extensions),
        key=lambda pair: pair[0].order,
    )
    return Discovery(
        modules=dict(loaded),
        disabled=tuple(sorted(manager.disabled, key=lambda source: source.order)),
        problems=tuple(manager.problems),
    )


def driver_names(namespace: str) -> list[str]:
    """Names of the drivers of a namespace that are not disabled; none is imported."""
    sources = map(_source_of, _entry_points(namespace)[0])
    return sorted({source.name for source in sources if not _is_disabled(source)})


def load_driver(namespace: str, name: str) -> Any:
    """Import the driver ``name`` of a namespace, for example ``calve.runtimes``.

    Raises:
      PluginError: if there is none, if two distributions provide it, or if it cannot be loaded;
        the original exception is its ``__cause__``.
    """
    found: dict[str, list[PluginSource]] = {}
    disabled: list[str] = []
    for entry_point in _entry_points(namespace)[0]:
        source = _source_of(entry_point)
        if _is_disabled(source):
            disabled.append(source.name)
        else:
            found.setdefault(source.name, []).append(source)
    if name in disabled and name not in found:
        raise PluginError(
            f"the driver {name!r} of {namespace} is disabled",
            fix="see --no-plugins, CALVE_DISABLE_PLUGINS and CALVE_ALLOW_PLUGINS",
        )
    if name not in found:
        raise PluginError(
            f"there is no driver {name!r} in {namespace}",
            fix=did_you_mean(name, found) or f"installed: {', '.join(sorted(found)) or 'none'}",
        )
    if len(found[name]) > 1:
        raise PluginError(
            f"the driver {name!r} of {namespace} is ambiguous",
            where=" and ".join(f"{s.distribution} {s.version}" for s in found[name]),
            fix="uninstall one of them",
        )
    try:
        return _Driver(namespace, name).driver
    except _LoadError as error:
        raise PluginError(
            f"the driver {name!r} of {namespace} cannot be loaded: {error.problem.cause}",
            where=f"{error.problem.source.distribution} {error.problem.source.version}",
            fix=_what_is_missing(error.problem.exception),
        ) from error.problem.exception


def _what_is_missing(error: BaseException | None) -> str | None:
    if isinstance(error, ImportError) and error.name:
        return f"install {error.name} in this environment, or choose another driver"
    return None


class _LoadError(Exception):
    """Carries a problem through stevedore, whose own guard does not stop all exceptions."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.cause)
        self.problem = problem


class _Guarded(_AnyExtensionManager):
    """stevedore without its disk cache, and with a guard that stops everything except Ctrl-C.

    The cache may return entry points of an earlier installation, without their distributions.
    """

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        return _entry_points(self.namespace)[0]

    def _load_one_plugin(self, ep: importlib.metadata.EntryPoint, *args: Any, **kwargs: Any) -> Any:
        source = _source_of(ep)
        try:
            unmet = None if source.is_builtin else unmet_requirement(facts_of(ep.dist))
            if unmet is not None:
                raise _LoadError(Problem(source, "requirements", unmet))
            with output_limited(source), self._delays_explained(source):
                return super()._load_one_plugin(ep, *args, **kwargs)
        except (KeyboardInterrupt, _LoadError):
            raise
        except BaseException as error:
            raise _LoadError(Problem(source, "load", describe(error), error)) from error

    def _delays_explained(self, source: PluginSource) -> AbstractContextManager[None]:
        return plugin_delays_explained("importing", source)


class _PluginManager(_Guarded):
    """Loads every enabled plugin and records the problems of the others."""

    def __init__(self, fatal: Collection[Problem]) -> None:
        self.disabled: list[PluginSource] = []
        self.problems: list[Problem]
        self._fatal = {problem.source: problem for problem in fatal}
        super().__init__(PLUGINS, on_load_failure_callback=self._remember)

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        entry_points, self.problems = _entry_points(self.namespace)
        enabled = []
        for entry_point in entry_points:
            source = _source_of(entry_point)
            if _is_disabled(source):
                self.disabled.append(source)
            elif source in self._fatal:
                self.problems.append(self._fatal[source])
            else:
                enabled.append(entry_point)
        return enabled

    def _remember(self, manager: Any, entry_point: Any, error: BaseException) -> None:
        assert isinstance(error, _LoadError)
        self.problems.append(error.problem)


class _Driver(_Guarded, _AnyDriverManager):
    """Loads a driver whose name is known to exist exactly once."""

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        return [
            entry_point
            for entry_point in super().list_entry_points()
            if entry_point.name in self._names and not _is_disabled(_source_of(entry_point))
        ]

    def _delays_explained(self, source: PluginSource) -> AbstractContextManager[None]:
        return driver_delays_explained(self.namespace, source)


def _entry_points(group: str) -> tuple[list[importlib.metadata.EntryPoint], list[Problem]]:
    """Entry points of one group, each with its distribution; the first on the path wins.

    `importlib.metadata.entry_points` parses the files of all installed packages, and fails for all
    if one is malformed. This function parses only the files that name the group.
    """
    found: dict[tuple[str, bool], list[importlib.metadata.EntryPoint]] = {}
    problems = []
    for distribution in importlib.metadata.distributions():
        with suppress(OSError, UnicodeDecodeError):
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, version, _ = facts_of(distribution)
            is_ours = is_calve_itself(distribution)
            if (name, True) in found and not is_ours:
                continue  # another calve later on the path is as invisible as its modules
            try:
                entry_points = list(distribution.entry_points.select(group=group))
                found.setdefault((name, is_ours), entry_points)
            except Exception as error:
                cause = f"its entry_points.txt cannot be read: {describe(error)}"
                problems.append(
                    Problem(PluginSource(name, "", name, version), "load", cause, error)
                )
    return [
        entry_point for entry_points in found.values() for entry_point in entry_points
    ], problems


def _is_disabled(source: PluginSource) -> bool:
    """Whether the environment disables the plugin."""
    disabled = _listed("CALVE_DISABLE_PLUGINS")
    if source.is_builtin:
        return source.name in disabled
    if source.name in disabled or "all" in disabled:
        return True
    if "CALVE_ALLOW_PLUGINS" not in os.environ:
        return False
    # Its import takes a tenth of what start-up takes, and only this needs it.
    from packaging.utils import canonicalize_name

    allowed = map(canonicalize_name, _listed("CALVE_ALLOW_PLUGINS"))
    return canonicalize_name(source.distribution) not in allowed


def _listed(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",")]


def _source_of(entry_point: importlib.metadata.EntryPoint) -> PluginSource:
    facts = facts_of(entry_point.dist)
    return PluginSource(
        entry_point.name,
        entry_point.value,
        facts.name,
        facts.version,
        is_builtin=is_calve_itself(entry_point.dist),
    )
