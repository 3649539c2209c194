"""Commands that show the course of a training run."""

from __future__ import annotations

from pathlib import Path

import click

from calve.services import echo

__all__ = ["plot"]


@click.command("plot")
@click.argument("exp_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture to write, in the format of its suffix: svg, png, pdf.  "
    "[default: EXP_DIR/curves.svg]",
)
def plot(exp_dir: Path, output: Path | None) -> None:
    """Draw the losses, the learning rate and the error rates of a training run."""
    from calve_transducer.training.curves import draw, read_panels

    output = output or exp_dir / "curves.svg"
    draw(read_panels(exp_dir), output)
    echo(output)
