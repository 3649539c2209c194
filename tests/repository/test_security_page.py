"""SECURITY.md: each answer to a threat names a test that exists."""

from __future__ import annotations

import re

import pytest
from documented import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (REPOSITORY / file).read_text("utf-8")


def test_every_threat_has_its_test() -> None:
    rows = re.findall(r"^\|.*\|$", PAGE.partition("## Threats and answers")[2], re.MULTILINE)
    assert len(rows) - 2 == len(NAMED) >= 20
