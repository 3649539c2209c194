"""The capability matrix as a Markdown page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from calve.exporting.verification import PASSED, SKIPPED
from calve.testing.capabilities import STREAMING, Cell

__all__ = ["COMMAND", "capability_page", "result"]

COMMAND = "calve plugins matrix --page docs/capabilities.md"

_INTRODUCTION = f"""# What runs where

`{COMMAND}` generates this page by trying every combination. No entry is declared by hand, and
formats that an encoder does not claim are tried as well.

For each row, calve creates a tiny model of the recipe with random weights and exports or quantizes
it. It compares the result with torch: over at least 20 chained chunks in streaming mode, and on
whole utterances in offline mode. It then transcribes with the runtime of the row. A test does the
same and fails if a claim and its outcome disagree.

- **passes**: calve's own runtime agrees with torch within the limits of the precision; in fp32, the
  greedy tokens are the same. A client of another project returns the words that calve returns.
- **no**: the combination does not work, and the encoder does not claim it.
  `calve plugins matrix --json` gives the reason.
- **offline**: a bundle for whole utterances, of a model that cannot stream if the encoder has one.
  Formats that support only streaming have no such row.
- **largest error**: the largest absolute difference of any output from torch, or from the source
  bundle if `calve quantize` made the bundle. Rounding affects random weights more than trained
  ones.

[formats.md](formats.md) describes the formats.
"""


def capability_page(cells: Sequence[Cell]) -> str:
    """The whole page: a summary, then a table for each recipe."""
    parts = [_INTRODUCTION, "## Summary\n", _summary(cells)]
    for recipe in dict.fromkeys(cell.recipe for cell in cells):
        parts += [f"## {recipe}\n", _table([cell for cell in cells if cell.recipe == recipe])]
    return "\n".join(parts)


def result(cell: Cell) -> str:
    """The outcome of a cell in one or two words."""
    if cell.outcome == SKIPPED:
        return "not tried"
    if not cell.agrees:
        return "**fails**" if cell.claimed else "**passes, not claimed**"
    return "passes" if cell.outcome == PASSED else "no"


def _summary(cells: Sequence[Cell]) -> str:
    """One row for each recipe, one column for each format: runtimes in which all of it passes."""
    formats = list(dict.fromkeys(cell.format for cell in cells))
    rows = []
    for recipe in dict.fromkeys(cell.recipe for cell in cells):
        mine = [cell for cell in cells if cell.recipe == recipe]
        rows.append([recipe, *(_gist([c for c in mine if c.format == name]) for name in formats)])
    return _markdown(("recipe", *(f"`{name}`" for name in formats)), rows)


def _gist(cells: Sequence[Cell]) -> str:
    precisions: dict[str, list[str]] = {}
    for cell in cells:
        if cell.outcome == PASSED:
            name = cell.runtime if cell.mode == STREAMING else f"{cell.runtime} {cell.mode}"
            precisions.setdefault(name, []).append(cell.precision)
    return ", ".join(f"{name} ({' '.join(found)})" for name, found in precisions.items()) or "no"


def _table(cells: Sequence[Cell]) -> str:
    rows = [
        (
            f"`{cell.format}`",
            cell.mode,
            cell.precision,
            cell.made_by,
            cell.runtime,
            result(cell),
            "" if cell.max_abs_error is None else f"{cell.max_abs_error:.0e}",
        )
        for cell in cells
    ]
    columns = ("format", "mode", "precision", "made by", "runtime", "result", "largest error")
    return _markdown(columns, rows)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
