"""A generated plugin, really installed: from `calve plugins new` to text in every format."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = "my_speech_transducer"
SPEAKERS = ("george", "lucas", "theo")
WITHOUT_INDEX = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation")
FORMATS = {
    "state-dict": (),
    "jit-trace": (),
    "jit-script": (),
    "ncnn": ("sherpa-ncnn",),
    "onnx": ("sherpa-onnx",),
}
"""Formats, and the clients that must hear the same."""


class Environment:
    """A new virtual environment that sees the third-party packages of the running one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        (site_packages,) = (folder / "env" / "lib").glob("python3*/site-packages")
        others = [path for path in sys.path if Path(path).name == "site-packages"]
        site_packages.joinpath("others.pth").write_text("\n".join(others))

    def run(self, *command: object) -> str:
        """Run a program of the environment in its folder; returns what it prints."""
        program, *arguments = map(str, command)
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.folder / "env" / "bin" / program, *arguments],
            cwd=self.folder,
            env=inherited | {"OMP_NUM_THREADS": "1", "CALVE_STRICT_PLUGINS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, *what: object) -> None:
        """Install distributions, with the build tools that are there already."""
        self.run("python", "-m", "pip", "install", *WITHOUT_INDEX, *what)

    def calve(self, *arguments: object) -> str:
        return self.run("calve", *arguments)


@pytest.fixture(scope="module")
def recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of every digit."""
    folder = tmp_path_factory.mktemp("fsdd") / "recordings"
    folder.mkdir()
    for speaker in SPEAKERS:
        for index in (0, 5, 6, 7):
            for digit in range(10):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copy(shared_data / "fsdd" / "recordings" / name, folder)
    return folder


def install_wheel(environment: Environment) -> None:
    wheels = environment.folder / "wheels"
    environment.run("python", "-m", "pip", "wheel", *WITHOUT_INDEX, "-w", wheels, REPOSITORY)
    environment.install(*wheels.iterdir())


def install_checkout(environment: Environment) -> None:
    environment.install("--editable", REPOSITORY)


@pytest.mark.parametrize(
    ("install", "formats"), [(install_wheel, tuple(FORMATS)), (install_checkout, ("ncnn",))]
)
def test_a_new_plugin_works_everywhere_and_leaves_no_trace(
    install: Callable[[Environment], None],
    formats: tuple[str, ...],
    recordings: Path,
    tmp_path: Path,
) -> None:
    environment = Environment(tmp_path)
    calve = environment.calve
    install(environment)
    calve("plugins", "new", "my-speech")
    environment.install("--editable", "my-speech")
    assert "ok" in calve("plugins", "check", "my_speech")
    assert RECIPE in calve("train", "--help")
    environment.run("python", "-m", "pytest", "-q", "my-speech", "-k", "not claimed_format_works")

    prepare = ("--data-dir", "data", "--jobs", 1, "--train-variants", 2, "--test-variants", 1)
    calve("prepare", "fsdd", "--root", recordings, *prepare)
    corpus = ("--corpus", "fsdd", "--data-dir", "data")
    small = ("--encoder-dim", 48, "--num-encoder-layers", 2, "--num-epochs", 3)
    calve("train", RECIPE, *corpus, "--exp-dir", "exp", *small)
    checkpoint = ("--exp-dir", "exp", "--epoch", 3, "--avg", 1, "--use-averaged-model", 0)
    tokens = ("--tokens", "data/lang/tokens.txt")
    wav = next(recordings.iterdir())
    for name in formats:
        calve("export", RECIPE, *checkpoint, *tokens, "--format", name, "--output", name)
        calve("lint", name)
        verified = calve("verify", name)
        assert all(client in verified for client in FORMATS[name]), verified
        transcript = json.loads(calve("transcribe", name, wav, "--json"))
        assert transcript["duration"] > 0.1
    assert "WER" in calve("decode", RECIPE, *checkpoint, *corpus, "--bundle", "ncnn")
    calve("quantize", "ncnn", "--output", "int8")
    calve("verify", "int8")

    environment.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "my-speech")
    assert "my_speech" not in calve("plugins", "list")
    assert RECIPE not in calve("train", "--help")
