"""What is used where the user names nothing; plugins flag it in their specs.

What two plugins flag is the default of neither: the user must name one.
"""

from __future__ import annotations

from collections.abc import Sequence

from calve.registry.catalog import registry

__all__ = ["default_checkpoint", "default_format"]


def default_format() -> str | None:
    """Name of the export format that is flagged as the default; None unless exactly one is."""
    return _single([spec.format for spec in registry().exporters if spec.default])


def default_checkpoint() -> str | None:
    """Name of the shipped checkpoint that is flagged as the default; None unless exactly one is."""
    shipped = (spec for recipe in registry().recipes for spec in recipe.pretrained)
    return _single([spec.name for spec in shipped if spec.default])


def _single(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
