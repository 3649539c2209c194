"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from calve.bundles.bundle import Bundle

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about the machine than about what is tested.
settings.register_profile("calve", deadline=None)
if "CALVE_TESTS_WITHOUT_PLUGINS" not in os.environ:
    settings.load_profile("calve")

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def _shared_folder(name: str) -> Path:
    folder = _SHARED / name
    if not folder.is_dir():
        absent = pytest.fail if os.environ.get("CALVE_REQUIRE_SHARED") else pytest.skip
        absent(f"../shared/{name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def bundled_plugins() -> None:
    """The recipes, formats, decoding methods and corpora that come with calve as plugins.

    A test of the core that uses one of them requests this fixture. The others also pass where
    every bundled plugin is hidden: ``pytest -p hidden_plugins``.
    """
    if "CALVE_TESTS_WITHOUT_PLUGINS" in os.environ:
        pytest.skip("it uses something that a bundled plugin registers")


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Numbers measured by running icefall and k2; see the README in the folder."""
    return _shared_folder("goldens")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings of real speech; see the README in the folder."""
    return _shared_folder("data")


@pytest.fixture(scope="session")
def few_digits(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of every digit, from which the corpus ``fsdd`` can be prepared."""
    folder = tmp_path_factory.mktemp("few_digits") / "recordings"
    folder.mkdir()
    for speaker in ("george", "lucas", "theo"):
        for index in (0, 5, 6, 7):
            for digit in range(10):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copy(shared_data / "fsdd" / "recordings" / name, folder)
    return folder


@pytest.fixture(scope="session")
def k2_python() -> Path:
    """Interpreter of an environment with k2, which on PyPI is one with Python 3.9."""
    python = os.environ.get("CALVE_K2_PYTHON")
    if not python:
        absent = pytest.fail if os.environ.get("CALVE_REQUIRE_K2") else pytest.skip
        absent("CALVE_K2_PYTHON does not name the interpreter of an environment with k2")
    return Path(python)


@pytest.fixture(scope="session")
def golden_checkpoint(goldens: Path) -> Path:
    """A tiny ``lstm_transducer_stateless2`` as icefall saved it, 30 symbols."""
    return goldens / "lstm_transducer_stateless2.ckpt.pt"


@pytest.fixture(scope="session")
def golden_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A symbol table that fits `golden_checkpoint`."""
    from calve.data.tokens import SymbolTable

    path = tmp_path_factory.mktemp("lang") / "tokens.txt"
    words = tuple(f"▁word{index}" for index in range(3, 30))
    SymbolTable(("<blk>", "<sos/eos>", "<unk>", *words)).write(path)
    return path


@pytest.fixture(scope="session")
def golden_bundle(
    bundled_plugins: None,
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`golden_checkpoint` exported to ncnn in float32; not to be written to."""
    from calve.exporting.export import export

    return export(
        "lstm_transducer_stateless2",
        checkpoint=golden_checkpoint,
        tokens=golden_tokens,
        output=tmp_path_factory.mktemp("export") / "bundle",
        fp16=False,
    )


@pytest.fixture
def bundle_dir(golden_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of `golden_bundle` that a test may break."""
    return Path(shutil.copytree(golden_bundle.path, tmp_path / "bundle"))
