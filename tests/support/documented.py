"""What the documentation tells its readers to type, and its examples in Python."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGES", "REPOSITORY", "lines_to_type", "python_of"]

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = tuple(
    str(path.relative_to(REPOSITORY))
    for path in (
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *sorted((REPOSITORY / "docs").glob("*.md")),
        *sorted((REPOSITORY / "docs/examples").glob("*/README.md")),
    )
)
_BLOCK = re.compile(r"^ *```(\S*)\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)


def lines_to_type(page: str) -> list[str]:
    """Lines of the blocks without a language, their continuations joined, comments removed."""
    text = _blocks(page, "")
    lines = (line.partition(" # ")[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def python_of(page: str) -> str:
    """The blocks in Python, one after another."""
    return _blocks(page, "python")


def _blocks(page: str, language: str) -> str:
    found = _BLOCK.findall((REPOSITORY / page).read_text("utf-8"))
    return "".join(block for name, block in found if name == language)
