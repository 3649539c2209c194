"""Output of the commands: JSON for programs, tables and messages for people."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from calve.common.printable import json_text, one_line, printable

if TYPE_CHECKING:
    from calve.scoring.error_rates import DecodedUtterance, Score

__all__ = [
    "Styled",
    "colors",
    "echo",
    "hotwords_text",
    "outcome_text",
    "print_error",
    "print_json",
    "print_table",
    "score_json",
    "score_text",
    "styled",
    "warn",
]


_OUTCOME_COLORS = {
    **dict.fromkeys(("ok", "passed", "passes"), "green"),
    **dict.fromkeys(("broken", "failed", "fails", "passes, not claimed", "missing"), "red"),
    **dict.fromkeys(("disabled", "skipped", "not tried", "warn"), "yellow"),
}


def colors() -> bool | None:
    """click's ``color``: None, so that a terminal gets colors; False if ``NO_COLOR`` is set."""
    return False if os.environ.get("NO_COLOR") else None


class Styled(str):
    """Text in a color, whose content is printable already."""

    __slots__ = ()


def styled(text: str, **style: Any) -> Styled:
    """Text in a style of `click.style`, for `echo`; control characters are escaped."""
    return Styled(click.style(printable(text), **style))


def echo(*parts: object, err: bool = False) -> None:
    """Print text on stdout, or on stderr, and a line end.

    Names, transcripts and messages may come from anywhere, so control characters are shown as
    escapes. Only `Styled` parts keep theirs. What cannot be written on stderr is lost: a message
    does not stop the work.
    """
    shown = (part if isinstance(part, Styled) else printable(str(part)) for part in parts)
    with suppress(*(OSError, ValueError) if err else ()):
        click.echo("".join(shown), err=err, color=colors())


def print_error(error: object) -> None:
    """Print ``Error: ...`` on stderr; nothing is raised where stderr is closed or full."""
    echo(styled("Error:", fg="red", bold=True), f" {error}", err=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print one JSON value on stdout, on one line unless ``indent`` is given.

    Letters are escaped where stdout's encoding may lack them, control characters everywhere.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")
    click.echo(json_text(value, indent=indent, ascii_only=ascii_only))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, outcomes: str | None = None
) -> None:
    """Print rows under headings on stdout.

    Numbers are aligned to the right. None is shown as a dash. A terminal gets a table of its own
    width, in which long cells continue on the next line. Everything else gets one line for each
    row, however wide, without colors.

    Args:
      columns: The headings.
      rows: One cell for each column; cells are shown as `str` writes them.
      outcomes: The column whose cells are outcomes ("ok", "failed"), which have colors.
    """
    cells = [["–" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    right = [
        bool(rows) and all(_is_number(row[index]) for row in cells) for index in range(len(columns))
    ]
    if sys.stdout is not None and sys.stdout.isatty():
        styled = None if outcomes is None else columns.index(outcomes)
        click.echo(_terminal_table(columns, cells, right, styled), nl=False, color=colors())
    else:
        click.echo("\n".join(_plain_lines(columns, cells, right)))


def _plain_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> Iterator[str]:
    # Without rich, whose import takes longer than most commands that are used in scripts.
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for line in (columns, ["-" * width for width in widths], *rows):
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def _terminal_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    styled: int | None,
) -> str:
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = shutil.get_terminal_size().columns
    fixed = _fixed_widths(columns, rows, right, terminal)
    least = sum(_LEAST_TEXT if width is None else width for width in fixed) + 2 * len(fixed)
    rule_below_heading = Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)
    table = Table(box=rule_below_heading, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, to_right, width in zip(columns, right, fixed, strict=True):
        justify: Literal["left", "right"] = "right" if to_right else "left"
        table.add_column(Text(column, "bold"), justify=justify, overflow="fold", width=width)
    for row in rows:
        styles = [
            _OUTCOME_COLORS.get(cell, "") if i == styled else "" for i, cell in enumerate(row)
        ]
        table.add_row(*(Text(cell, style) for cell, style in zip(row, styles, strict=True)))
    # rich cuts what does not fit into a console; a terminal continues it on the next line.
    console = Console(file=io.StringIO(), force_terminal=True, width=max(terminal, least))
    with console.capture() as captured:
        console.print(table)
    return captured.get()


_LEAST_TEXT = 4
"""The narrowest column of text."""


def _fixed_widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], terminal: int
) -> list[int | None]:
    """The widths of columns of numbers in a table that is too wide; None for all others.

    Such a column breaks its heading between words, and never a number, which would look like two.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= terminal:
        return [None] * len(widths)
    return [
        max(map(cell_len, (*heading.split(), *numbers))) if is_number else None
        for is_number, heading, *numbers in zip(right, columns, *rows, strict=True)
    ]


def outcome_text(outcome: str, width: int = 0) -> Styled:
    """An outcome ("passed", "failed", "skipped") in its color, padded to a width."""
    return styled(outcome.ljust(width), fg=_OUTCOME_COLORS.get(outcome))


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


_NUMBER = re.compile(r"–|[-+]?\d[\d.,]*(e[-+]\d+)?( ?[^\d\s]{1,3})?")
"""Nothing, or a number, perhaps with a short unit."""


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def warn(messages: Iterable[str]) -> None:
    """Print warnings on stderr, one on each line."""
    label = styled("Warning:", fg="yellow")
    for message in messages:
        echo(label, f" {message}", err=True)
