"""How Sphinx makes the documentation site: ``make docs``."""

from importlib import metadata

project = "calve"
author = "The calve developers"
copyright = "The calve developers"  # noqa: A001 - Sphinx reads this name
release = metadata.version("calve")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples/*/src", "examples/*/tests"]
# Links such as quantize.md#calibration are those that GitHub makes from headings.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "calve"
html_static_path: list[str] = []
