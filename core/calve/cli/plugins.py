"""``calve plugins``: list, describe and check the installed plugins; write a new one."""

from __future__ import annotations

import dataclasses
import json
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import click

from calve.cli.application import LazyCommand
from calve.cli.field_types import number
from calve.cli.options import json_option
from calve.cli.output import echo, outcome_text, print_json, print_table
from calve.common.ranges import Range
from calve.common.references import LazyRef, Resource
from calve.registry.catalog import Registry, build_registry
from calve.registry.discovery import discover, outside_plugins
from calve.registry.host import Host
from calve.registry.import_probe import probe_imports
from calve.registry.inspection import PluginReport, check_references, reports, reports_named
from calve.registry.plugin_sources import Problem
from calve.registry.specs import CommandSpec

__all__ = ["plugins"]


@click.group(short_help="List, check and describe plugins.")
def plugins() -> None:
    """List, describe and check the installed plugins; write a new one."""


plugins.add_command(
    LazyCommand(
        CommandSpec(
            "matrix",
            LazyRef("calve.cli.matrix:matrix"),
            "Try every recipe in every format and runtime.",
        )
    )
)


@plugins.command("new", short_help="Generate a distribution with a new encoder.")
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Directory to create.  [default: NAME]",
)
def new(name: str, output: Path | None) -> None:
    """Write a complete distribution with an encoder called NAME.

    After `pip install`, its recipe trains, decodes and exports to every format.
    """
    from calve.registry.new_plugin import write_plugin

    folder = output or Path(name.replace("_", "-"))
    for file in write_plugin(name, folder):
        echo(folder / file)
    echo(f"\nNext: pip install -e '{folder}[test]' && pytest {folder}")


@plugins.command("list", short_help="List all plugins, including broken and disabled ones.")
@json_option
def list_plugins(as_json: bool) -> None:
    """List all plugins, including broken and disabled ones.

    `calve plugins info NAME` shows what a plugin registers and what is wrong with it.
    """
    found = reports(build_registry())
    if as_json:
        print_json([report.to_json() for report in found], indent=2)
        return
    rows = [
        (
            report.source.name,
            f"{report.source.distribution} {report.source.version}",
            report.status,
            _counts(report),
        )
        for report in found
    ]
    print_table(("plugin", "distribution", "status", "registers"), rows, outcomes="status")
    if any(report.problems for report in found):
        echo("`calve plugins info NAME` shows what is wrong with a plugin.", err=True)


@plugins.command(short_help="Import everything that plugins refer to; exit with 1 on any problem.")
@click.argument("name", required=False)
@click.option(
    "--time-limit",
    type=number(Range(0, 1e6, above_minimum=True)),
    default=30.0,
    show_default=True,
    help="Time limit in seconds for importing one plugin.",
)
@json_option
@click.pass_obj
def check(settings: Any, name: str | None, time_limit: float, as_json: bool) -> None:
    """Check the plugin NAME, or all of them, by importing everything that they refer to.

    Third-party plugins are first imported in separate processes, which detects plugins that hang
    or crash.

    The exit code is 1 if anything is wrong. `calve --debug plugins check NAME` shows the traceback
    of each problem.
    """
    probe = probe_imports(outside_plugins(), time_limit)
    registry = Registry(Host(discover(probe.fatal)))
    checked = [
        dataclasses.replace(
            report,
            problems=(
                *report.problems,
                *(problem for problem in probe.noisy if problem.source == report.source),
                *_deep_problems(registry, report),
            ),
        )
        for report in (reports(registry) if name is None else reports_named(registry, name))
    ]
    if as_json:
        print_json([report.to_json() for report in checked], indent=2)
    else:
        for report in checked:
            _print_verdict(report, with_traceback=settings.debug)
    if any(report.problems for report in checked):
        raise click.exceptions.Exit(1)


@plugins.command(short_help="Show everything that a plugin registers.")
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Show everything that the plugin NAME registers."""
    registry = build_registry()
    found = reports_named(registry, name)
    if as_json:
        values = [{**report.to_json(), "specs": _specs(registry, report)} for report in found]
        print_json(values, indent=2)
        return
    for report in found:
        echo(f"{report.source} ({report.source.target}): ", outcome_text(report.status))
        for problem in report.problems:
            echo(f"  problem: {problem.stage}: {problem.cause}")
        for kind, specs in _specs(registry, report).items():
            for spec in specs:
                echo(f"  {kind}")
                _print_fields(spec)


def _deep_problems(registry: Registry, report: PluginReport) -> Sequence[Problem]:
    return () if report.status == "disabled" else check_references(registry, report.source)


_SHORT_KINDS = {
    "export format": ("format", "formats"),
    "metadata writer": ("writer", "writers"),
    "decoding method": ("method", "methods"),
    "corpus": ("corpus", "corpora"),
}
"""One and many of what a plugin registers, where the full name does not fit or needs no s."""


def _counts(report: PluginReport) -> str | None:
    """What a plugin registers in a few words, as in "2 encoders, 8 writers"; None if nothing."""
    counts = {kind: len(names) for kind, names in report.registers.items()}
    forms = {kind: _SHORT_KINDS.get(kind, (kind, f"{kind}s")) for kind in counts}
    words = [f"{count} {forms[kind][count > 1]}" for kind, count in counts.items()]
    return ", ".join(words) or None


def _print_verdict(report: PluginReport, *, with_traceback: bool) -> None:
    if not report.problems:
        echo(f"{report.source}: ", outcome_text(report.status))
    for problem in report.problems:
        echo(f"{report.source}: {problem.stage}: {problem.cause}")
        if with_traceback and problem.exception is not None:
            echo("".join(traceback.format_exception(problem.exception)), err=True)


def _specs(registry: Registry, report: PluginReport) -> dict[str, list[dict[str, Any]]]:
    found = {
        table.kind: [_plain(spec) for _, spec in table.specs_of(report.source)]
        for table in registry.tables
    }
    return {kind: specs for kind, specs in found.items() if specs}


def _plain(value: Any) -> Any:
    """A spec as values that JSON has."""
    if isinstance(value, LazyRef):
        return value.target
    if isinstance(value, Resource):
        return f"{value.package}/{value.path}"
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value if isinstance(value, (bool, int, float, str, NoneType)) else str(value)


def _print_fields(spec: dict[str, Any]) -> None:
    for key, value in spec.items():
        shown = json.dumps(value) if isinstance(value, (list, dict)) else value
        if shown not in (None, "[]", "{}"):
            echo(f"    {key}: {shown}")
