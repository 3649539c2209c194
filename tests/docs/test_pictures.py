"""The pictures that are drawn from the code show what the code says now."""

from __future__ import annotations

import re
import runpy

import pytest
from documented import PAGES, REPOSITORY

IMAGES = REPOSITORY / "docs/images"
PICTURES = runpy.run_path(str(IMAGES / "draw.py"))["PICTURES"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_would_be_drawn(name: str) -> None:
    """If it fails: ``make pictures``."""
    assert (IMAGES / name).read_text("utf-8") == PICTURES[name]()


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.name)
def test_every_picture_is_on_a_page(path) -> None:
    assert any(f"images/{path.name})" in (REPOSITORY / page).read_text("utf-8") for page in PAGES)


def test_the_speed_in_short_is_that_of_the_tables_below() -> None:
    page = (REPOSITORY / "docs/benchmarks.md").read_text("utf-8")
    short, below = page.split("\n## ", 1)
    below += (REPOSITORY / "docs/quantize.md").read_text("utf-8")
    times = re.findall(r"\b\d\.\d+\b", short.split("| what | compared with | time |")[1])
    assert len(times) > 5
    assert [time for time in times if time not in below] == []
