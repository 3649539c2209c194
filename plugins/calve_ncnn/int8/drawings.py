"""The charts of the report; colors are those of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from calve.common.charts import chart_text, inline_chart, page_color

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["bars", "histogram", "scatter"]

_WIDTH = 900
_ROW = 18
_UNITS = ("B", "KB", "MB", "GB")


def bars(rows: Sequence[tuple[str, int, int, str]]) -> Markup:
    """Two bars per row (name, bytes before, bytes after, precision): how much is left of each."""
    label = "Bytes per layer before and after"
    return inline_chart(_WIDTH, _ROW * len(rows) + 50, label, partial(_draw_bars, rows))


def histogram(counts: Sequence[int], threshold: float, absmax: float) -> Markup:
    """Counts of absolute values from 0 to ``absmax``, with a line at ``threshold``."""
    draw = partial(_draw_histogram, counts, threshold, absmax)
    return inline_chart(320, 140, "Distribution of absolute values", draw)


def scatter(points: Sequence[tuple[float, float, str]], x_label: str, y_label: str) -> Markup:
    """Named points (x, y, name) in a frame that holds them all."""
    draw = partial(_draw_scatter, points, x_label, y_label)
    return inline_chart(_WIDTH, 320, f"{y_label} by {x_label}", draw)


def _draw_bars(rows: Sequence[tuple[str, int, int, str]], figure: Figure) -> None:
    names, before, after, precisions = zip(*rows, strict=True)
    largest = max(*before, *after, 1)
    power = min(int(math.log2(largest)) // 10, len(_UNITS) - 1)
    unit = 1024**power
    places = range(len(rows))
    axes = figure.add_subplot()
    axes.barh(places, [size / unit for size in before], 0.7, color=page_color("muted"))
    colors = [_color(precision == "int8") for precision in precisions]
    axes.barh(places, [size / unit for size in after], 0.4, color=colors)
    for place, old, new in zip(places, before, after, strict=True):
        end, text = (max(old, new) / unit, place), f"{old:,} to {new:,} bytes"
        axes.annotate(text, end, (6, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.3 * largest / unit)
    axes.set_yticks(places, [chart_text(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(_UNITS[power])


def _draw_histogram(counts: Sequence[int], threshold: float, absmax: float, figure: Figure) -> None:
    width = absmax / len(counts)
    middles = [(index + 0.5) * width for index in range(len(counts))]
    axes = figure.add_subplot()
    colors = [_color(middle <= threshold) for middle in middles]
    axes.bar(middles, counts, 0.85 * width, color=colors)
    axes.axvline(min(threshold, absmax), color=page_color("ink"), linestyle="--", linewidth=1)
    # A single value is a bar as well.
    axes.set_yscale("log")
    axes.set_ylim(0.5, 2 * max(*counts, 1))
    axes.set_xlim(0, absmax)


def _draw_scatter(
    points: Sequence[tuple[float, float, str]], x_label: str, y_label: str, figure: Figure
) -> None:
    axes = figure.add_subplot()
    xs, ys, names = zip(*points, strict=True)
    axes.scatter(xs, ys, s=50, color=page_color("teal"))
    for x, y, name in zip(xs, ys, names, strict=True):
        text = f"{chart_text(name)}: {x:.3g}, {y:.2f}"
        axes.annotate(text, (x, y), (0, 9), textcoords="offset points", ha="center")
    axes.margins(0.15, 0.25)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    axes.set(xlabel=x_label, ylabel=y_label)


def _color(is_int8: bool) -> str:
    """Teal for what is int8, orange for what is left in another precision or clipped."""
    return page_color("teal" if is_int8 else "orange")
