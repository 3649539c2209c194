"""Training curves: losses from TensorBoard files, error rates from decoding."""

from __future__ import annotations

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calve.api import ConfigError, DataError
from calve.common.charts import chart_settings, chart_text
from calve.common.files import atomic_file
from calve.common.inputs import check_input, read_text
from calve.common.paths import visible_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "Panel", "draw", "read_panels"]

_LOSSES = {
    "train/simple_loss": "simple, training",
    "train/pruned_loss": "pruned, training",
    "epoch/valid_simple_loss": "simple, validation",
    "epoch/valid_pruned_loss": "pruned, validation",
}
_RATES = {"train/learning_rate": "learning rate"}
_EVENTS = "*tfevents*"
"""What TensorBoard's reader reads in a folder."""

_SUMMARY = re.compile(
    r"wer-summary-(?P<what>.+)-(?P<unit>epoch|iter)-(?P<number>\d{1,15})(?P<how>-.*)?\.txt"
)
_PANEL_INCHES = (8.0, 3.6)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """The points of one curve, from left to right."""

    label: str
    points: Points


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    y_scale: str = "linear"


def read_panels(exp_dir: Path) -> list[Panel]:
    """Read the panels of a training run.

    Losses and learning rate come from ``tensorboard/``, error rates from icefall's
    ``wer-summary-*.txt`` anywhere in the folder.

    Raises:
      ConfigError: if there is nothing to plot.
    """
    scalars = _scalars(exp_dir / "tensorboard")
    losses = _curves(scalars, _LOSSES)
    panels = [
        Panel("Losses", "batches", "nats per encoder frame", losses, _loss_scale(losses)),
        Panel("Learning rate", "batches", "", _curves(scalars, _RATES)),
        Panel("Error rate after epochs", "epochs", "%", _error_rates(exp_dir, "epoch")),
        Panel("Error rate after batches", "batches", "%", _error_rates(exp_dir, "iter")),
    ]
    shown = [panel for panel in panels if panel.curves]
    if not shown:
        raise ConfigError(
            "there is nothing to plot: neither tensorboard/ nor wer-summary-*.txt",
            where=exp_dir,
            fix="give the --exp-dir of a training run",
        )
    return shown


def draw(panels: Sequence[Panel], output: Path) -> None:
    """Draw panels below one another; the file's suffix selects the format.

    Raises:
      ConfigError: if the suffix is not that of a picture format.
      CalveError: if the file cannot be written.
    """
    # The import takes half a second; only this function needs it.
    from matplotlib.figure import Figure

    formats = Figure().canvas.get_supported_filetypes()
    if output.suffix.removeprefix(".") not in formats:
        raise ConfigError(
            f"no picture format has the suffix {output.suffix!r}",
            where=output,
            fix=f"one of {', '.join(sorted(formats))}",
        )
    width, height = _PANEL_INCHES
    with chart_settings(), atomic_file(output) as temporary:
        figure = Figure((width, height * len(panels)), layout="constrained")
        for number, panel in enumerate(panels, 1):
            _draw_panel(panel, figure.add_subplot(len(panels), 1, number))
        figure.savefig(temporary)


def _draw_panel(panel: Panel, axes: Axes) -> None:
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    axes.set_yscale(panel.y_scale)
    for curve in panel.curves:
        xs, ys = zip(*curve.points, strict=True)
        marker = "." if len(xs) < 100 else None
        axes.plot(xs, ys, marker=marker, label=chart_text(curve.label))
    axes.grid(alpha=0.3)
    axes.legend()


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    """Suppress a logger's messages below the level of errors in the ``with`` block."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _scalars(folder: Path) -> dict[str, Points]:
    """Return all scalars in TensorBoard's files, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    for path in folder.iterdir():
        if not path.is_file():
            check_input(path, "file of TensorBoard", DataError)
    for path in folder.glob(_EVENTS):
        if not path.is_file():  # A pipe would be waited for.
            raise ConfigError("this is no file, so TensorBoard did not write it", where=path)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    with _only_errors(logging.getLogger("tensorboard")):
        # It omits steps that a continued run has superseded, with a warning.
        events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def _curves(scalars: Mapping[str, Points], labels: Mapping[str, str]) -> list[Curve]:
    return [Curve(label, scalars[name]) for name, label in labels.items() if name in scalars]


def _loss_scale(losses: Sequence[Curve]) -> str:
    """Return the scale of the loss axis.

    Losses fall by orders of magnitude; a delay penalty can make them negative.
    """
    positive = all(y > 0 for curve in losses for _, y in curve.points)
    return "log" if positive else "linear"


def _error_rates(exp_dir: Path, unit: str) -> list[Curve]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in visible_files(exp_dir, "**/wer-summary-*.txt"):
        named = _SUMMARY.fullmatch(path.name)
        rate = _error_rate(path)
        if named is not None and named["unit"] == unit and rate is not None:
            found[named["what"] + (named["how"] or "")].append((int(named["number"]), rate))
    return [Curve(label, sorted(found[label])) for label in sorted(found)]


def _error_rate(path: Path) -> float | None:
    """Return the number at the end of the file; None if there is none.

    Raises:
      DataError: if the file cannot be read.
    """
    words = read_text(path, "summary of error rates", DataError).split()
    try:
        rate = float(words[-1])
    except (IndexError, ValueError):
        return None
    return rate if math.isfinite(rate) else None
