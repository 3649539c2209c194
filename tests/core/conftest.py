"""Running calve in a child process with fake distributions installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from calve.bundles.bundle import Bundle

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
        script = "import sys; from calve.cli.application import main; sys.argv[0] = 'calve'; main()"
        return run_python("-c", script, *arguments, **settings)

    return run


@pytest.fixture(scope="session")
def offline_checkpoint(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden ``pruned_transducer_stateless5``, as if its convolutions saw future frames."""
    import torch

    trained = torch.load(goldens / "pruned_transducer_stateless5.ckpt.pt", weights_only=False)
    path = tmp_path_factory.mktemp("offline") / "offline.pt"
    torch.save(trained | {"causal_convolution": False}, path)
    return path


@pytest.fixture(scope="session")
def offline_bundle(
    bundled_plugins: None,
    offline_checkpoint: Path,
    golden_tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`offline_checkpoint` exported for whole utterances; not to be written to."""
    from calve.exporting.export import export

    return export(
        "pruned_transducer_stateless5",
        checkpoint=offline_checkpoint,
        tokens=golden_tokens,
        output=tmp_path_factory.mktemp("offline") / "bundle",
        format="jit-script",
    )
