"""Defaults, which plugins mark in their specs.

If several plugins mark a default, there is none and the user must choose.
"""

from __future__ import annotations

from collections.abc import Sequence

from calve.registry.catalog import registry

__all__ = ["default_checkpoint", "default_format"]


def default_format() -> str | None:
    """Name of the default export format; None unless exactly one is marked."""
    return _single([spec.format for spec in registry().exporters if spec.default])


def default_checkpoint() -> str | None:
    """Name of the default shipped checkpoint; None unless exactly one is marked."""
    shipped = (spec for recipe in registry().recipes for spec in recipe.pretrained)
    return _single([spec.name for spec in shipped if spec.default])


def _single(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
