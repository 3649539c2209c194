"""What commands print: JSON for programs, tables and messages for people."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from calve.scoring.error_rates import DecodedUtterance, Score

__all__ = [
    "colors",
    "hotwords_text",
    "print_error",
    "print_json",
    "print_table",
    "score_json",
    "score_text",
    "warn",
]


def colors() -> bool | None:
    """click's ``color``: None, so that a terminal gets colors; False if ``NO_COLOR`` is set."""
    return False if os.environ.get("NO_COLOR") else None


def print_error(error: object) -> None:
    """Print ``Error: ...`` on stderr; nothing is raised where stderr is closed or full."""
    with suppress(OSError, ValueError):
        label = click.style("Error:", fg="red", bold=True)
        click.echo(f"{label} {error}", err=True, color=colors())


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


def score_text(score: Score) -> str:
    """A score in one line."""
    counts = score.counts
    rate = f"{score.rate_name} undefined"
    if counts.wer is not None and score.interval is not None:
        low, high = score.interval
        rate = f"{score.rate_name} {counts.wer:.2f} % (95 % confidence: {low:.2f} to {high:.2f})"
    return (
        f"{rate}: {counts.substitutions} substitutions, {counts.insertions} insertions, "
        f"{counts.deletions} deletions in {counts.reference_words} {score.unit}s; "
        f"{counts.wrong_utterances} of {counts.utterances} utterances have errors"
    )


def hotwords_text(utterances: Sequence[DecodedUtterance], hotwords: Sequence[str]) -> str:
    """How many hotwords were recognized, in one line."""
    from calve.scoring.hotwords import HotwordCounts, count_hotwords

    total = sum(count_hotwords(utterances, hotwords).values(), HotwordCounts())
    return (
        f"hotwords: {total.recognized} of {total.said} recognized, "
        f"{total.false_alarms} false alarms"
    )


def score_json(score: Score) -> dict[str, Any]:
    """A score with the keys of ``--json``."""
    name = score.rate_name.lower()
    interval = list(score.interval) if score.interval is not None else None
    return {name: score.counts.wer, f"{name}_interval": interval, **asdict(score.counts)}


def _is_number(text: str) -> bool:
    return text == "–" or text[:1].isdigit() or text[:1] == "-"


def warn(messages: Iterable[str]) -> None:
    """Warnings on stderr, one a line."""
    for message in messages:
        click.echo(f"Warning: {message}", err=True)
