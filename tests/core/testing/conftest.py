"""The kit, run on a sound plugin that the tests break one way at a time."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest

from calve.registry import catalog

_FAKE = Path(__file__).resolve().parents[2] / "plugins" / "data" / "conformance"

Failures = dict[str, str]


def _forget() -> None:
    importlib.invalidate_caches()
    catalog.build_registry.cache_clear()
    catalog.report_problems.cache_clear()


@pytest.fixture(scope="module")
def sound_plugin(bundled_plugins: None) -> Iterator[None]:
    """A distribution with one encoder that keeps every promise, as if it were installed."""
    sys.path.insert(0, str(_FAKE))
    _forget()
    yield
    sys.path.remove(str(_FAKE))
    _forget()


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``replaced(specs, name, **changes)``: a spec of the registry with other fields."""

    def replaced(specs: Any, name: Any, **changes: Any) -> None:
        original, changed = specs.get, replace(specs.get(name), **changes)
        monkeypatch.setattr(specs, "get", lambda key: changed if key == name else original(key))

    return replaced


@pytest.fixture
def failures() -> Callable[..., Failures]:
    """``failures(kit, only="")``: what each check that fails says; see `_failures`."""
    return _failures


def _failures(kit: type, only: str = "") -> Failures:
    """What each check that fails says, by its name without ``test_``.

    Args:
      kit: A class of the kit, complete with its attributes.
      only: Run only checks whose name contains this.
    """
    found = {}
    for name, check in inspect.getmembers(kit(), inspect.ismethod):
        if not name.startswith("test_") or only not in name:
            continue
        takes_format = "format_name" in inspect.signature(check).parameters
        for arguments in [(one,) for one in kit()._formats()] if takes_format else [()]:
            try:
                check(*arguments)
            except SkipTest:
                continue
            except Exception as error:
                found[name.removeprefix("test_")] = f"{type(error).__name__}: {error}"
    return found
