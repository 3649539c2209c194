"""Pages keep what they are given from becoming a part of the page."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

from calve.common.pages import PALETTE, HtmlTable, render_page

HOSTILE = "<script>alert(1)</script> & \"double\" 'single' {{ title }} \x1b[31m \u202e \udcff"
SHOWN = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e").replace("\udcff", r"\udcff")
TEMPLATE = """\
{% extends "calve/page.html" %}
{% from "calve/parts.html" import cards, table %}
{% block style %}em { color: var(--red); }{% endblock %}
{% block content %}
<em>{{ text }}</em>
{{ cards([(text, text)]) }}
{{ table(content, {text: "marked"}) }}
{% endblock %}
"""


class Texts(HTMLParser):
    """The text in each kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open:
            self.seen[self.open[-1]][-1] += data


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a template."""
    name = f"paged_{tmp_path.name}".replace("-", "_")
    (tmp_path / name / "templates").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "templates" / "page.html").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def texts_of(page: str) -> dict[str, list[str]]:
    parser = Texts()
    parser.feed(page)
    return parser.seen


def test_hostile_text_stays_text_wherever_it_stands(package: str) -> None:
    content = HtmlTable([HOSTILE], [[HOSTILE]])
    page = render_page(package, "page.html", title=HOSTILE, text=HOSTILE, content=content)
    seen = texts_of(page)
    assert "script" not in seen
    for tag in ("title", "h1", "em", "b", "small", "th", "td"):
        assert seen[tag] == [SHOWN], tag
    page.encode("utf-8")
    assert "\x1b" not in page


def test_a_page_needs_no_other_file_and_no_script(package: str) -> None:
    page = render_page(package, "page.html", title="t", text="x", content=HtmlTable([], []))
    assert not re.search(r"<script|<link|src=|href=|url\(|@import|https?:", page)


def test_every_color_has_a_light_and_a_dark_value(package: str) -> None:
    page = render_page(package, "page.html", title="t", text="x", content=HtmlTable([], []))
    light, dark = page.split("prefers-color-scheme: dark", 1)
    for name, values in PALETTE.items():
        assert f"--{name}: {values[0]};" in light
        assert f"--{name}: {values[1]};" in dark
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


def test_numbers_are_aligned_and_marked_texts_are_marked(package: str) -> None:
    content = HtmlTable(["name", "size"], [["x", "1.5 MB"], ["y", "–"]])
    assert content.numeric == [False, True]
    page = render_page(package, "page.html", title="t", text="x", content=content)
    assert '<td class="marked">x</td>' in page
    assert "<td>y</td>" in page
    assert page.count('<td class="number">') == 2


def test_a_value_that_is_missing_is_an_error(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render_page(package, "page.html", title="t", content=HtmlTable([], []))
