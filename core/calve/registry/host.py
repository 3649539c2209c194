"""Calls of plugins with pluggy: registration and hooks, each under a guard.

A hook that raises, returns a wrong value or is misspelled becomes a `Problem` of its plugin. The
results of the plugin's other hooks remain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pluggy

from calve.common.exceptions import describe
from calve.common.suggest import did_you_mean
from calve.registry import hookspecs, specs
from calve.registry.discovery import Discovery
from calve.registry.plugin_output import output_limited
from calve.registry.plugin_sources import PluginSource, Problem
from calve.registry.validation import complaint_about
from calve.registry.waiting import plugin_delays_explained

__all__ = ["REGISTRATION_HOOKS", "Host"]

REGISTRATION_HOOKS: dict[str, type] = {
    "calve_register_encoders": specs.EncoderSpec,
    "calve_register_recipes": specs.RecipeSpec,
    "calve_register_exporters": specs.ExporterSpec,
    "calve_register_metadata_writers": specs.MetadataWriterSpec,
    "calve_register_quantizers": specs.QuantizerSpec,
    "calve_register_decoders": specs.DecodingMethodSpec,
    "calve_register_datasets": specs.DatasetSpec,
    "calve_register_commands": specs.CommandSpec,
}
"""The spec class that each registration hook returns."""


_MOST_SPECS = 10_000
"""A hook that yields more than these never ends."""


class Host:
    """The registered plugins, and the problems of the others.

    Attributes:
      sources: Plugins that are loaded and registered, in order.
      disabled: Disabled plugins.
      problems: Problems so far; a failing event hook adds one later.
    """

    def __init__(self, discovery: Discovery) -> None:
        self.disabled = discovery.disabled
        self.problems: list[Problem] = list(discovery.problems)
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._sources: dict[int, PluginSource] = {}
        for source, module in discovery.modules.items():
            self._register(source, module)
        self._check_hook_names()

    @property
    def sources(self) -> tuple[PluginSource, ...]:
        return tuple(sorted(self._sources.values(), key=lambda source: source.order))

    def hooks_of(self, source: PluginSource) -> tuple[str, ...]:
        """Names of the hooks that a plugin implements."""
        module = self._manager.get_plugin(_registered_name(source))
        callers = self._manager.get_hookcallers(module) if module is not None else None
        return tuple(sorted(caller.name for caller in callers or ()))

    def unmarked_hooks_of(self, source: PluginSource) -> tuple[str, ...]:
        """Functions of a plugin that are named like hooks but not marked with `hookimpl`."""
        module = self._manager.get_plugin(_registered_name(source))
        known = [caller.name for caller in self._callers() if caller.has_spec()]
        return tuple(sorted({n for n in known if hasattr(module, n)} - {*self.hooks_of(source)}))

    def collect(self, hook: str) -> Iterator[tuple[PluginSource, Any]]:
        """Call a registration hook of each plugin and yield the returned specs."""
        for source, module in self._implementers(hook):
            try:
                with output_limited(source), plugin_delays_explained(f"calling {hook} of", source):
                    registered = _checked(hook, self._call(hook, module))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self.problems.append(Problem(source, hook, describe(error), error))
            else:
                yield from ((source, spec) for spec in registered)

    def notify(self, event: str, **arguments: Any) -> list[Problem]:
        """Report an event to every plugin; return the new problems."""
        failures = []
        for source, module in self._implementers(event):
            try:
                self._call(event, module, **arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                failures.append(Problem(source, event, describe(error), error))
        self.problems.extend(failures)
        return failures

    def _register(self, source: PluginSource, module: Any) -> None:
        try:
            self._manager.register(module, name=_registered_name(source))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.problems.append(Problem(source, "register", describe(error), error))
            # pluggy may have got halfway, or may know the module under another plugin's name.
            with suppress(Exception):
                self._manager.unregister(name=_registered_name(source))
        else:
            self._sources[id(module)] = source

    def _check_hook_names(self) -> None:
        """Add a problem for each hook implementation without a hook specification."""
        with suppress(pluggy.PluginValidationError):
            self._manager.check_pending()
            return
        known = [caller.name for caller in self._callers() if caller.has_spec()]
        for caller in self._callers():
            if caller.has_spec():
                continue
            question = did_you_mean(caller.name, known)
            cause = f"there is no such hook{f'; {question}' if question else ''}"
            for source, _ in self._implementers(caller.name):
                self.problems.append(Problem(source, caller.name, cause))

    def _callers(self) -> list[pluggy.HookCaller]:
        found = vars(self._manager.hook).values()
        return [caller for caller in found if isinstance(caller, pluggy.HookCaller)]

    def _implementers(self, hook: str) -> list[tuple[PluginSource, Any]]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        pairs = [
            (self._sources[id(found.plugin)], found.plugin)
            for found in caller.get_hookimpls()
            if id(found.plugin) in self._sources
        ]
        return sorted(pairs, key=lambda pair: pair[0].order)

    def _call(self, hook: str, module: Any, **arguments: Any) -> list[Any]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        others = [i.plugin for i in caller.get_hookimpls() if i.plugin is not module]
        results: list[Any] = self._manager.subset_hook_caller(hook, others)(**arguments)
        return results


def _registered_name(source: PluginSource) -> str:
    return f"{source.distribution}:{source.name}"


def _checked(hook: str, results: list[Any]) -> list[Any]:
    """Collect and check the specs that one plugin returned.

    Raises:
      TypeError: if the hook returned anything else.
    """
    wanted = REGISTRATION_HOOKS[hook]
    registered: list[Any] = []
    for result in results:
        if not isinstance(result, Iterable) or isinstance(result, (str, bytes)):
            raise TypeError(
                f"{hook} must return or yield {wanted.__name__}s, not {type(result).__name__}"
            )
        for spec in result:
            if not isinstance(spec, wanted):
                raise TypeError(
                    f"{hook} must return or yield {wanted.__name__}s, found {type(spec).__name__}"
                )
            if complaint := complaint_about(spec, wanted):
                raise TypeError(complaint)
            registered.append(spec)
            if len(registered) > _MOST_SPECS:
                raise TypeError(f"{hook} yields more than {_MOST_SPECS} specs")
    return registered
