"""``calve plugins matrix``: tests every combination of recipe, format, precision and runtime."""

from __future__ import annotations

from pathlib import Path

import click

from calve.cli.options import json_option
from calve.cli.output import echo, print_json, print_table
from calve.common.files import atomic_file, check_writable
from calve.common.progress import console_progress
from calve.exporting.verification import SKIPPED
from calve.testing.capabilities import Cell, capabilities
from calve.testing.capability_page import capability_page, result

__all__ = ["matrix"]


@click.command("matrix")
@click.option("--recipe", "recipes", multiple=True, help="A recipe; repeatable. Default: all.")
@click.option(
    "--format", "formats", multiple=True, help="An export format; repeatable. Default: all."
)
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file to write."
)
@json_option
def matrix(
    recipes: tuple[str, ...], formats: tuple[str, ...], page: Path | None, as_json: bool
) -> None:
    """Try every recipe in every format, precision and runtime, on tiny random models.

    Each is exported or quantized, compared with torch, and transcribed by calve's runtime and by
    the clients that are installed; whether the encoder claims the format or not. Exits with 1 if
    something that is claimed fails, or something passes that is not claimed.
    """
    if page is not None:
        check_writable(page.parent)
    cells = list(capabilities(recipes or None, formats or None, progress=console_progress()))
    if as_json:
        print_json([cell.to_json() for cell in cells], indent=2)
    else:
        _print(cells)
    if page is not None:
        with atomic_file(page) as temporary:
            temporary.write_text(capability_page(cells), encoding="utf-8")
    wrong = [cell for cell in cells if not cell.agrees]
    for cell in wrong:
        echo(f"calve: {cell.complaint}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)


def _print(cells: list[Cell]) -> None:
    rows = [
        (
            cell.recipe,
            cell.format,
            cell.mode,
            cell.precision,
            cell.runtime,
            result(cell).strip("*"),
            None if cell.max_abs_error is None else f"{cell.max_abs_error:.1e}",
        )
        for cell in cells
    ]
    columns = ("recipe", "format", "mode", "precision", "runtime", "result", "max abs error")
    print_table(columns, rows, outcomes="result")
    skipped = {(cell.runtime, cell.detail): None for cell in cells if cell.outcome == SKIPPED}
    for runtime, detail in skipped:
        echo(f"not tried: {runtime}: {detail}")
