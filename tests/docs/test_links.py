"""Every link from one document to another leads to a file, and to a heading in it."""

from __future__ import annotations

import re

import pytest
from documented import PAGES, REPOSITORY

_BLOCK = re.compile(r"^ *```.*?^ *```", flags=re.DOTALL | re.MULTILINE)


def _prose(page: str) -> str:
    return _BLOCK.sub("", (REPOSITORY / page).read_text("utf-8"))


def _anchors(page: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    folder = (REPOSITORY / page).parent
    for target, anchor in re.findall(r"\]\((?!http)([^)#\s]*)#?([^)\s]*)\)", _prose(page)):
        found = (folder / target).resolve() if target else REPOSITORY / page
        assert found.exists(), target
        if anchor:
            assert anchor in _anchors(str(found.relative_to(REPOSITORY))), (target, anchor)
