"""Defaults that plugins flag in their specs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calve.registry.catalog import registry
from calve.registry.defaults import default_checkpoint, default_format

pytestmark = pytest.mark.usefixtures("bundled_plugins")


def test_the_default_is_what_a_plugin_flags():
    assert registry().exporters.get(default_format() or "").default
    shipped = {one.name: one for recipe in registry().recipes for one in recipe.pretrained}
    assert shipped[default_checkpoint() or ""].default


@pytest.mark.parametrize("flagged", [False, True])
def test_what_none_or_several_plugins_flag_is_no_default(
    monkeypatch: pytest.MonkeyPatch, flagged: bool
):
    exporters, recipes = registry().exporters, registry().recipes
    formats = {one.format: replace(one, default=flagged) for one in exporters}
    shipping = {
        one.name: replace(
            one, pretrained=tuple(replace(shipped, default=flagged) for shipped in one.pretrained)
        )
        for one in recipes
    }
    assert len(formats) > 1
    monkeypatch.setattr(exporters, "get", formats.get)
    monkeypatch.setattr(recipes, "get", shipping.get)
    assert default_format() is None
    assert default_checkpoint() is None
