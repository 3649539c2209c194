"""References to Python objects and package files."""

from __future__ import annotations

import os.path

import pytest

from calve.common.references import LazyRef, Resource
from calve.errors import PluginError


def test_a_reference_gives_the_object():
    assert LazyRef("os:path.join").load() is os.path.join


@pytest.mark.parametrize("target", ["os", "os:", ":join", "os path:join", "os:join()", "1os:x"])
def test_what_is_no_reference_is_refused_at_once(target: str):
    with pytest.raises(PluginError, match="is not a reference"):
        LazyRef(target)


def test_a_missing_module_is_named_with_a_fix():
    with pytest.raises(PluginError, match="ModuleNotFoundError") as caught:
        LazyRef("no_such_package.module:name").load()
    assert "no_such_package" in (caught.value.fix or "")
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_missing_attribute_is_an_error():
    with pytest.raises(PluginError, match="cannot load os:no_such_name") as caught:
        LazyRef("os:no_such_name").load()
    assert isinstance(caught.value.__cause__, AttributeError)


def test_a_resource_is_read_from_its_package():
    text = Resource("calve", "errors.py").read_text()
    assert "class CalveError" in text
    with Resource("calve", "errors.py").as_file() as path:
        assert path.read_text(encoding="utf-8") == text
