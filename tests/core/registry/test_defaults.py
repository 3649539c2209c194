"""Defaults that plugins flag in their specs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calve.errors import PluginError
from calve.registry.catalog import registry
from calve.registry.defaults import (
    default_checkpoint,
    default_decoding_method,
    default_format,
)

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


def _mark(monkeypatch: pytest.MonkeyPatch, *marked: str) -> list[str]:
    methods = registry().decoding_methods
    specs = {one.name: replace(one, default=one.name in marked) for one in methods}
    monkeypatch.setattr(methods, "get", specs.get)
    return list(specs)


def test_one_decoding_method_is_the_default(monkeypatch: pytest.MonkeyPatch):
    *_, last = registry().decoding_methods.names()
    _mark(monkeypatch, last)
    assert default_decoding_method() == last


def test_without_a_default_the_user_names_the_decoding_method(monkeypatch: pytest.MonkeyPatch):
    names = _mark(monkeypatch)
    with pytest.raises(PluginError, match="no decoding method is the default") as caught:
        default_decoding_method()
    assert caught.value.fix == f"name a decoding method: {', '.join(names)}"


def test_two_defaults_are_an_error_that_names_their_plugins(monkeypatch: pytest.MonkeyPatch):
    first, second, *_ = registry().decoding_methods.names()
    methods = registry().decoding_methods
    plugins = [str(methods.source(name)) for name in (first, second)]
    _mark(monkeypatch, first, second)
    with pytest.raises(PluginError, match=f"several .* the default: {first}, {second}") as caught:
        default_decoding_method()
    assert caught.value.where == " and ".join(plugins)
