"""An ncnn bundle made from the golden LSTM checkpoint, shared by this folder's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from calve.bundle import Bundle
from calve.exporting import export
from calve.tokens import SymbolTable

RECIPE = "lstm_transducer_stateless2"
VOCAB_SIZE = 30


@pytest.fixture(scope="session")
def golden_checkpoint(goldens: Path) -> Path:
    return goldens / f"{RECIPE}.ckpt.pt"


@pytest.fixture(scope="session")
def golden_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lang") / "tokens.txt"
    letters = tuple(f"s{index}" for index in range(3, VOCAB_SIZE))
    SymbolTable(("<blk>", "<sos/eos>", "<unk>", *letters)).write(path)
    return path


@pytest.fixture(scope="session")
def golden_bundle(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A float32 bundle; not to be written to."""
    output = tmp_path_factory.mktemp("export") / "bundle"
    return export(
        RECIPE, checkpoint=golden_checkpoint, tokens=golden_tokens, output=output, fp16=False
    )


@pytest.fixture
def bundle_dir(golden_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(golden_bundle.path, tmp_path / "bundle"))
