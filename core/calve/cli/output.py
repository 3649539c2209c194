"""What commands print: JSON for machines, aligned text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["print_json", "print_table", "size_text"]


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


def size_text(size: int) -> str:
    """Bytes as ``ls -lh`` writes them: in powers of 1024, rounded up."""
    if size < 1024:
        return f"{size} B"
    power = min(int(math.log2(size)) // 10, 3)
    unit = ("KB", "MB", "GB")[power - 1]
    tenths = math.ceil(size / 1024**power * 10)
    return f"{tenths / 10:.1f} {unit}" if tenths < 100 else f"{math.ceil(tenths / 10)} {unit}"


def _is_number(text: str) -> bool:
    return text == "–" or text[:1].isdigit() or text[:1] == "-"
