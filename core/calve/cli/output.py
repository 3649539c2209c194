"""What commands print: JSON for machines, aligned text for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["print_json", "print_table"]


def print_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON value on stdout, on one line unless ``indent`` is given."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings; numbers are aligned to the right. None is shown as a dash."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [
        bool(rows) and all(_is_number(row[index]) for row in cells) for index in range(len(columns))
    ]
    for line in (list(columns), ["-" * width for width in widths], *cells):
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def _is_number(text: str) -> bool:
    return text == "–" or text[:1].isdigit() or text[:1] == "-"
