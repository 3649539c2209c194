"""Charts in the colors of a page, and as files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from calve.common.charts import chart_file, chart_text, inline_chart, page_color

LABEL = "\"quoted\" <b> & 'more'"
TEXTS = ["$x_1$", "<b>bold</b>", "& \"quotes\" 'too'", "$ alone", r"back\$lash$", "$$"]


def draw_bars(figure: Figure) -> None:
    axes = figure.add_subplot()
    axes.barh(range(len(TEXTS)), range(1, len(TEXTS) + 1), color=page_color("teal"))
    axes.set_yticks(range(len(TEXTS)), [chart_text(text) for text in TEXTS])
    axes.set_title("title", color=page_color("ink"))


def texts_of(drawn: str) -> list[str]:
    root = ElementTree.fromstring(drawn)
    return [element.text or "" for element in root.iter() if element.tag.endswith("}text")]


def test_text_stays_text_whatever_is_in_it() -> None:
    for drawn in (inline_chart(300, 200, "x", draw_bars), chart_file(300, 200, draw_bars)):
        assert set(TEXTS) < set(texts_of(drawn))


def test_a_chart_in_a_page_has_the_colors_of_the_page() -> None:
    drawn = inline_chart(300, 200, "x", draw_bars)
    assert len(re.findall(r"fill: var\(--teal\)", drawn)) == len(TEXTS)
    assert "fill: var(--ink)" in drawn
    assert not re.search(r"(fill|stroke): #", drawn)


def test_a_chart_in_a_page_says_what_it_shows_and_shares_no_name() -> None:
    root = ElementTree.fromstring(inline_chart(300, 200, LABEL, draw_bars))
    assert root.get("aria-label") == LABEL
    assert root.get("style") == "max-width: 300px"
    names = [element.get("id") for element in root.iter() if element.get("id")]
    text = ElementTree.tostring(root, "unicode")
    assert [name for name in names if f"#{name}" not in text] == []


@pytest.mark.parametrize("draw", [draw_bars, lambda figure: figure.add_subplot()])
def test_the_same_numbers_give_the_same_picture(draw) -> None:
    assert chart_file(300, 200, draw) == chart_file(300, 200, draw)
    assert inline_chart(300, 200, "x", draw) == inline_chart(300, 200, "x", draw)
