"""HTML pages: one skeleton, filled by Jinja2, without a script and without other files.

A page is a template in the folder ``templates`` of a package. It extends ``calve/page.html``, which
has the style for light and dark screens, and may import ``cards`` and ``table`` from
``calve/parts.html``:

.. code-block:: jinja

    {% extends "calve/page.html" %}
    {% from "calve/parts.html" import cards, table %}
    {% block content %}{{ cards(summary) }}{% endblock %}

Every value is escaped, so that no name and no transcript can change the page. `calve.common.charts`
draws charts for such pages.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calve.common.printable import printable

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["PALETTE", "HtmlTable", "render_page"]

PALETTE = {
    "ink": ("#1b1f24", "#e6e9ec"),
    "soft": ("#5d6773", "#9aa5b1"),
    "line": ("#d5dae0", "#353c44"),
    "paper": ("#ffffff", "#14171a"),
    "card": ("#f5f7f9", "#1d2226"),
    "muted": ("#aab4bf", "#59636e"),
    "teal": ("#0b7a75", "#36b5ae"),
    "orange": ("#c8641b", "#e8924f"),
    "amber": ("#8a5300", "#f3bd6a"),
    "amber-paper": ("#fff0d6", "#3d2e12"),
    "blue": ("#1a5fb4", "#8fbcf5"),
    "blue-paper": ("#e1edfb", "#182c45"),
    "red": ("#b3261e", "#f3938c"),
    "red-paper": ("#fde5e3", "#431c19"),
}
"""The colors of a page by name, on light and on dark screens; ``var(--NAME)`` in its style."""


@dataclass(frozen=True)
class HtmlTable:
    """A table of texts.

    Attributes:
      columns: The headings.
      rows: One text for each column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers only, which are aligned to the right."""
        return [
            bool(self.rows) and all(_is_number(row[index]) for row in self.rows)
            for index in range(len(self.columns))
        ]


def render_page(package: str, template: str, *, title: str, **values: object) -> str:
    """Fill the template of a page.

    Args:
      package: The package that has the folder ``templates``.
      template: A file in that folder.
      title: The heading of the page.
      **values: What the template names. Text is escaped; `markupsafe.Markup` is not.

    Raises:
      jinja2.TemplateError: if the template is missing or malformed, or names a missing value.
    """
    page = _environment(package).get_template(template)
    return page.render(title=title, palette=PALETTE, **values)


@functools.cache
def _environment(package: str) -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

    shared = PrefixLoader({"calve": PackageLoader("calve.common")})
    return Environment(
        loader=ChoiceLoader([shared, PackageLoader(package)]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: object) -> object:
    """Text without control characters; what is markup already is left alone."""
    return printable(value) if type(value) is str else value


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text == "–"
