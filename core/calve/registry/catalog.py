"""The registry: everything that plugins registered, by name.

If two plugins register a name, neither gets it. Using the name is an error that names both
distributions, because a silent choice would be wrong for some users. All other names of the two
plugins keep working. ``CALVE_DISABLE_PLUGINS`` resolves the conflict.

``CALVE_STRICT_PLUGINS=1`` makes any problem of any plugin an error, for continuous integration.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from calve.common.suggest import did_you_mean
from calve.common.terminal import print_to_stderr
from calve.errors import PluginError
from calve.registry.builtin_commands import BUILTIN_COMMANDS
from calve.registry.discovery import discover
from calve.registry.host import REGISTRATION_HOOKS, Host
from calve.registry.plugin_sources import PluginSource, Problem
from calve.registry.specs import (
    CommandSpec,
    DatasetSpec,
    DecodingMethodSpec,
    EncoderSpec,
    ExporterSpec,
    MetadataWriterSpec,
    QuantizerSpec,
    RecipeSpec,
)

__all__ = [
    "Registry",
    "SpecTable",
    "build_registry",
    "is_strict",
    "registry",
    "report_problems",
]

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")


class SpecTable(Generic[K, S]):
    """Specs of one kind by name. Iteration follows the order of registration.

    Args:
      kind: Kind of the specs, for messages.
      key: Function that returns the name of a spec.
      registered: Each spec with its plugin.
      problems: Problems of plugins; one of them may explain a missing name.
    """

    def __init__(
        self,
        kind: str,
        key: Callable[[S], K],
        registered: Sequence[tuple[PluginSource, S]],
        problems: Sequence[Problem] = (),
    ) -> None:
        self.kind = kind
        self._problems = problems
        self._claims: dict[K, list[tuple[PluginSource, S]]] = {}
        for source, spec in registered:
            self._claims.setdefault(key(spec), []).append((source, spec))

    def get(self, name: K) -> S:
        """Return the spec called ``name``.

        Raises:
          PluginError: if there is none, or more than one.
        """
        claims = self._claims.get(name, [])
        if len(claims) == 1:
            return claims[0][1]
        if claims:
            raise self._ambiguous(name)
        raise self._unknown(name)

    def source(self, name: K) -> PluginSource:
        """The plugin that registered ``name``; raises as `get` does."""
        self.get(name)
        return self._claims[name][0][0]

    def names(self) -> list[K]:
        """Every name that `get` accepts."""
        return [name for name, claims in self._claims.items() if len(claims) == 1]

    def of(self, source: PluginSource) -> list[K]:
        """Every name that a plugin registered, including conflicting ones."""
        return [name for name, _ in self.specs_of(source)]

    def specs_of(self, source: PluginSource) -> list[tuple[K, S]]:
        """Every spec that a plugin registered, with its name."""
        return [
            (name, spec)
            for name, claims in self._claims.items()
            for claimant, spec in claims
            if claimant == source
        ]

    def conflicts(self) -> dict[K, list[PluginSource]]:
        """Names that several plugins registered, with these plugins."""
        return {
            name: [source for source, _ in claims]
            for name, claims in self._claims.items()
            if len(claims) > 1
        }

    def __iter__(self) -> Iterator[S]:
        return (self.get(name) for name in self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __len__(self) -> int:
        return len(self.names())

    def _ambiguous(self, name: K) -> PluginError:
        sources = self.conflicts()[name]
        return PluginError(
            f"{self.kind} {_written(name)!r} is registered more than once",
            where=" and ".join(str(source) for source in sources),
            fix="uninstall one of them, or name its plugin in CALVE_DISABLE_PLUGINS",
        )

    def _unknown(self, name: K) -> PluginError:
        known = {_written(known): None for known in self.names()}
        fix = did_you_mean(_written(name), known)
        error = PluginError(
            f"there is no {self.kind} {_written(name)!r}",
            where="; ".join(p.line for p in self._problems) or None,
            fix=fix or f"registered: {', '.join(known) or 'none'}",
        )
        causes = [problem.exception for problem in self._problems if problem.exception]
        error.__cause__ = causes[0] if causes else None
        return error


class Registry:
    """All tables and their plugins."""

    def __init__(self, host: Host) -> None:
        self.host = host
        claims = {hook: list(host.collect(hook)) for hook in REGISTRATION_HOOKS}
        commands = self._without_reserved_commands(claims["calve_register_commands"])
        seen = host.problems
        self.encoders: SpecTable[str, EncoderSpec] = SpecTable(
            "encoder", lambda spec: spec.name, claims["calve_register_encoders"], seen
        )
        self.recipes: SpecTable[str, RecipeSpec] = SpecTable(
            "recipe", lambda spec: spec.name, claims["calve_register_recipes"], seen
        )
        self.exporters: SpecTable[str, ExporterSpec] = SpecTable(
            "export format", lambda spec: spec.format, claims["calve_register_exporters"], seen
        )
        self.metadata_writers: SpecTable[tuple[str, str], MetadataWriterSpec] = SpecTable(
            "metadata writer",
            lambda spec: (spec.encoder, spec.format),
            claims["calve_register_metadata_writers"],
            seen,
        )
        self.quantizers: SpecTable[tuple[str, str], QuantizerSpec] = SpecTable(
            "quantizer",
            lambda spec: (spec.format, spec.scheme),
            claims["calve_register_quantizers"],
            seen,
        )
        self.decoding_methods: SpecTable[str, DecodingMethodSpec] = SpecTable(
            "decoding method", lambda spec: spec.name, claims["calve_register_decoders"], seen
        )
        self.datasets: SpecTable[str, DatasetSpec] = SpecTable(
            "corpus", lambda spec: spec.name, claims["calve_register_datasets"], seen
        )
        self.commands: SpecTable[str, CommandSpec] = SpecTable(
            "command", lambda spec: spec.name, commands, seen
        )
        self._note_conflicts()

    @property
    def tables(self) -> tuple[SpecTable[Any, Any], ...]:
        return (
            self.encoders,
            self.recipes,
            self.exporters,
            self.metadata_writers,
            self.quantizers,
            self.decoding_methods,
            self.datasets,
            self.commands,
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of all plugins."""
        return tuple(self.host.problems)

    def problem_lines(self) -> list[str]:
        """One line for each plugin that has problems."""
        by_source: dict[PluginSource, list[Problem]] = {}
        for problem in self.problems:
            by_source.setdefault(problem.source, []).append(problem)
        return [
            found[0].line + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
            for found in by_source.values()
        ]

    def notify(self, event: str, **arguments: Any) -> None:
        """Report an event to the plugins; a failing plugin costs one line and nothing else."""
        for problem in self.host.notify(event, **arguments):
            print_to_stderr(problem.line)

    def _without_reserved_commands(
        self, claims: list[tuple[PluginSource, CommandSpec]]
    ) -> list[tuple[PluginSource, CommandSpec]]:
        reserved = {command.name for command in BUILTIN_COMMANDS}
        for source, spec in claims:
            if spec.name in reserved:
                cause = f"the command {spec.name!r} is calve's own; the plugin's is left out"
                self.host.problems.append(Problem(source, "conflict", cause))
        return [claim for claim in claims if claim[1].name not in reserved]

    def _note_conflicts(self) -> None:
        """Add one problem for each group of plugins that register the same names."""
        contested: dict[tuple[PluginSource, ...], list[str]] = {}
        for table in self.tables:
            for name, sources in table.conflicts().items():
                contested.setdefault(tuple(sources), []).append(f"{table.kind} {_written(name)!r}")
        for (*others, last), names in contested.items():
            cause = (
                f"{', '.join(names)} also registered by {' and '.join(map(str, others))}: "
                "using the name is an error until one of them is uninstalled or disabled"
            )
            self.host.problems.append(Problem(last, "conflict", cause))


@functools.cache
def build_registry() -> Registry:
    """Discover, load and call all plugins, once per process; plugins never cause an exception."""
    return Registry(Host(discover()))


def registry() -> Registry:
    """Return the registry of this process; report each broken plugin once, in one line on stderr.

    Raises:
      PluginError: if a plugin is broken and ``CALVE_STRICT_PLUGINS=1`` is set.
    """
    registered = build_registry()
    lines = registered.problem_lines()
    if lines and is_strict():
        raise PluginError(
            "there are broken plugins, and CALVE_STRICT_PLUGINS is set", where="\n    ".join(lines)
        )
    report_problems()
    return registered


@functools.cache
def report_problems() -> None:
    """Print one line on stderr for each broken plugin, on the first call only."""
    for line in build_registry().problem_lines():
        print_to_stderr(line)


def is_strict() -> bool:
    """Whether ``CALVE_STRICT_PLUGINS`` makes broken plugins an error."""
    return os.environ.get("CALVE_STRICT_PLUGINS", "") not in ("", "0")


def _written(name: object) -> str:
    return " for ".join(map(str, name)) if isinstance(name, tuple) else str(name)
