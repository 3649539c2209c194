from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.exporting.export import export


@pytest.fixture(scope="session")
def onnx_bundle(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """``onnx_bundle(precision)``: the golden model, exported once; not to be written to."""

    @cache
    def bundle(precision: str) -> Bundle:
        return export(
            "lstm_transducer_stateless2",
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("onnx") / precision,
            format="onnx",
            precision=precision,
        )

    return bundle


@pytest.fixture
def broken_dir(onnx_bundle: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """A copy of the float32 bundle that a test may break."""
    return Path(shutil.copytree(onnx_bundle("fp32").path, tmp_path / "bundle"))
