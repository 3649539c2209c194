"""Charts with matplotlib, in pages and as files.

matplotlib is imported when a chart is drawn, which takes half a second.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from calve.common.pages import PALETTE
from calve.common.printable import printable

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["chart_file", "chart_settings", "chart_text", "inline_chart", "page_color"]

_POINTS_PER_INCH = 72
_METADATA = ("Creator", "Date", "Format", "Type")
"""Metadata that is omitted, so that the same numbers give the same picture."""

_GROUP_NAME = re.compile(r'(<g) id="[^"]*"')
"""Several charts on one page would use the same names; nothing refers to them."""


def page_color(name: str) -> str:
    """Return the placeholder of a color of `calve.common.pages.PALETTE` while a chart is drawn."""
    return PALETTE[name][0]


def chart_text(text: str) -> str:
    """Escape a name for matplotlib, so that ``$`` does not start a formula."""
    return printable(text).replace("$", r"\$")


@contextmanager
def chart_settings() -> Iterator[None]:
    """Return matplotlib's settings for all charts: text in SVG stays text."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "calve"}):
        yield


def inline_chart(
    width: float, height: float, label: str, draw: Callable[[Figure], object]
) -> Markup:
    """Return a chart as SVG for a page of `calve.common.pages`, in the colors of the page.

    Args:
      width: In CSS pixels, of which 72 are an inch to matplotlib.
      height: In CSS pixels.
      label: Description of the chart, for screen readers.
      draw: Draws into an empty figure, in colors of `page_color`.
    """
    from markupsafe import Markup

    with _page_settings():
        drawn = _svg(width, height, draw)
    element = _GROUP_NAME.sub(r"\1", drawn[drawn.index("<svg ") :])
    opening = Markup('<svg role="img" aria-label="{}" style="max-width: {}px" ').format(
        label, round(width)
    )
    return Markup(_in_page_colors(element).replace("<svg ", opening, 1))


def chart_file(width: float, height: float, draw: Callable[[Figure], object]) -> str:
    """Return a chart as the text of an SVG file, on white.

    Args:
      width: In CSS pixels, of which 72 are an inch to matplotlib.
      height: In CSS pixels.
      draw: Draws into an empty figure.
    """
    return _svg(width, height, draw)


@contextmanager
def _page_settings() -> Iterator[None]:
    from matplotlib import rc_context

    soft, line = page_color("soft"), page_color("line")
    with rc_context(
        {
            "axes.edgecolor": line,
            "axes.facecolor": "none",
            "axes.labelcolor": soft,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.facecolor": "none",
            "font.size": 11,
            "text.color": soft,
            "xtick.color": soft,
            "ytick.color": soft,
        }
    ):
        yield


def _svg(width: float, height: float, draw: Callable[[Figure], object]) -> str:
    from matplotlib.figure import Figure

    file = io.StringIO()
    with chart_settings():
        figure = Figure((width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")
        draw(figure)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(_METADATA))
    return file.getvalue()


def _in_page_colors(drawn: str) -> str:
    """Replace the placeholder colors by the variables of the page."""
    for name, (light, _) in PALETTE.items():
        drawn = drawn.replace(f": {light}", f": var(--{name})")
    return drawn
