"""Running calve in a child process with fake distributions installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_FAKES = Path(__file__).resolve().parents[1] / "plugins" / "data"

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python() -> RunPython:
    """``run_python(*arguments, fakes=(), path=(), env={})``: a fresh interpreter.

    ``fakes`` are folders of tests/plugins/data; ``path`` are further folders for PYTHONPATH.
    """

    def run(
        *arguments: str,
        fakes: tuple[str, ...] = (),
        path: tuple[Path, ...] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        folders = [*(_FAKES / fake for fake in fakes), *path]
        assert all(folder.is_dir() for folder in folders)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CALVE_")}
        inherited["PYTHONPATH"] = os.pathsep.join(map(str, folders))
        inherited["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.run(
            [sys.executable, *arguments],
            env=inherited | (env or {}),
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def run_calve(run_python: RunPython) -> RunPython:
    """``run_calve(*arguments, ...)``: the ``calve`` command, as `run_python` runs it."""

    def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        script = "import sys; from calve.cli import main; sys.argv[0] = 'calve'; main()"
        return run_python("-c", script, *arguments, **settings)

    return run
