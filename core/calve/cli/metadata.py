"""``calve metadata show`` and ``calve metadata write``."""

from __future__ import annotations

from pathlib import Path

import click

from calve.bundles.metadata import MetadataTable, read_metadata, write_metadata
from calve.cli.options import json_option
from calve.cli.output import echo, print_json
from calve.errors import BundleError

__all__ = ["metadata"]


@click.group("metadata")
def metadata() -> None:
    """The metadata that a bundle carries for its real runtime."""


@metadata.command("show")
@click.argument("bundle", type=click.Path(path_type=Path))
@json_option
def show(bundle: Path, as_json: bool) -> None:
    """Print the metadata stamped into BUNDLE."""
    table = read_metadata(bundle)
    if table is None:
        raise BundleError(
            "the model carries no metadata",
            where=bundle,
            fix="stamp it: calve metadata write BUNDLE",
        )
    _print(table, as_json)


@metadata.command("write")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A value that replaces or extends the inferred ones; may be repeated.",
)
@json_option
def write(bundle: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Stamp metadata into BUNDLE, replacing any other.

    The values come from the recipe that made the bundle. A bundle that calve did not make is
    stamped with what its own layers tell.
    """
    _print(write_metadata(bundle, dict(map(_assignment, assignments))), as_json)


def _assignment(text: str) -> tuple[str, int | str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    try:
        return key, int(value)
    except ValueError:
        return key, value


def _print(table: MetadataTable, as_json: bool) -> None:
    if as_json:
        print_json(table)
        return
    for key, value in table.items():
        echo(f"{key} = {value}")
