"""What the README shows of ``calve demo`` is what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented import REPOSITORY

from calve.cli.application import run

_NUMBER = re.compile(r"\d[\d.]*(e[-+]\d+)?")
"""Times and errors, which are others on another machine."""


def _lines(text: str) -> list[str]:
    """Without their numbers, widths of columns and empty lines."""
    lines = (" ".join(_NUMBER.sub("0", line).split()) for line in text.splitlines())
    return [line for line in lines if line.strip("- ")]


@pytest.mark.slow
def test_the_demo_prints_what_the_readme_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "README.md").read_text("utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert run(["demo", "--output", str(tmp_path)]) == 0
    printed = _lines(capsys.readouterr().out)
    assert [line for line in _lines(shown) if line not in printed] == []
    assert len(_lines(shown)) > 5
