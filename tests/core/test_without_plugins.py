"""The core's own tests, where every plugin that comes with calve is hidden."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent

_LEFT_OUT = (
    # Their tests start many processes with plugins of their own, or measure.
    *("common", "training", "cli/test_doctor.py", "cli/test_main.py", "cli/test_plugins.py"),
    *("registry/test_discovery.py", "registry/test_mischief.py", "scoring/test_alignment.py"),
    *("test_broken_plugins.py", "test_package.py", "test_startup.py"),
)

_LEAST = 600
"""Fewer tests than this would mean that they are skipped, or not found."""


@pytest.mark.usefixtures("bundled_plugins")
def test_the_core_passes_its_tests_without_any_bundled_plugin():
    arguments = ["-q", "-rfE", "-p", "no:cacheprovider", "-p", "hidden_plugins", str(_HERE)]
    left_out = [f"--ignore={_HERE / name}" for name in _LEFT_OUT]
    assert all((_HERE / name).exists() for name in _LEFT_OUT)
    child = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *left_out], capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout[-8000:] + child.stderr
    passed = re.search(r"(\d+) passed", child.stdout)
    assert passed is not None
    assert int(passed[1]) >= _LEAST
