"""A pytest plugin, ``-p hidden_plugins``, that hides every plugin that comes with calve.

Their entry points are disabled for this process and its children. Tests that use them, by the
fixture ``bundled_plugins`` or by an import, are skipped and say so.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest
from hypothesis import settings

__all__ = ["ENVIRONMENT_VARIABLE", "pytest_configure"]

ENVIRONMENT_VARIABLE = "CALVE_TESTS_WITHOUT_PLUGINS"

_GROUPS = ("calve.plugins", "calve.runtimes", "calve.loss_backends", "calve.fsa_backends")

_EXAMPLES = 5
"""Hypothesis need not search here; the ordinary run does."""


class _Hidden:
    """Refuses to import the packages of the plugins."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name.partition(".")[0] in self._packages:
            pytest.skip(f"imports {name}, which is hidden", allow_module_level=True)


def pytest_configure() -> None:
    """Hide them before a test module is imported."""
    entry_points = [
        one for one in importlib.metadata.distribution("calve").entry_points if one.group in _GROUPS
    ]
    os.environ["CALVE_DISABLE_PLUGINS"] = ",".join(sorted({one.name for one in entry_points}))
    os.environ[ENVIRONMENT_VARIABLE] = "1"
    packages = frozenset(one.module.partition(".")[0] for one in entry_points)
    sys.meta_path.insert(0, _Hidden(packages | {"calve_graphs"}))
    settings.register_profile("hidden", deadline=None, max_examples=_EXAMPLES)
    settings.load_profile("hidden")
