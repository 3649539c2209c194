"""``calve inspect``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from calve.cli.options import json_option
from calve.cli.output import echo, print_json, print_table, styled
from calve.common.printable import printable
from calve.exporting.inspection import inspect_file

__all__ = ["inspect"]


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what is in FILE: a checkpoint, bundle, network or symbol table.

    A checkpoint is compared with every recipe. Networks are read as data: no code of the file is
    run, and a TorchScript file is only listed.
    """
    found = inspect_file(file)
    if as_json:
        print_json(found, indent=2)
        return
    for key, value in found.items():
        if value not in (None, "", [], {}):
            _print_entry(key, value)


def _print_entry(key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        echo(styled(f"\n{key}", bold=True))
        for name, one in _flat(value):
            echo(f"  {printable(name)} = {_shown(one)}")
    elif isinstance(value, list) and isinstance(value[0], Mapping):
        echo(styled(f"\n{key}", bold=True))
        columns = list(value[0])
        print_table(columns, [[_cell(row.get(column)) for column in columns] for row in value])
    else:
        echo(f"{key}: {_shown(value)}")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a table and of the tables in it, as in ("encoder.dim", 8)."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return printable(str(value))
