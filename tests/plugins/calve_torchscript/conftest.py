from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.exporting.export import export

BundleOf = Callable[[str], Bundle]


@pytest.fixture(scope="session")
def bundle_of(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> BundleOf:
    """``bundle_of(format)``: the golden model, exported once; not to be written to."""

    @cache
    def bundle(format_name: str) -> Bundle:
        return export(
            "lstm_transducer_stateless2",
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("torch") / format_name,
            format=format_name,
        )

    return bundle


@pytest.fixture
def copy_of(bundle_of: BundleOf, tmp_path: Path) -> Callable[[str], Path]:
    """``copy_of(format)``: a copy that a test may break."""

    def copy(format_name: str) -> Path:
        return Path(shutil.copytree(bundle_of(format_name).path, tmp_path / format_name))

    return copy


@pytest.fixture(scope="session")
def conformer_bundle(
    goldens: Path, golden_tokens: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Bundle]:
    """``conformer_bundle(recipe, format)``: a golden model, exported once; not to be written to."""

    @cache
    def bundle(recipe: str, format_name: str) -> Bundle:
        return export(
            recipe,
            checkpoint=goldens / f"{recipe}.ckpt.pt",
            tokens=golden_tokens,
            output=tmp_path_factory.mktemp("torch") / format_name,
            format=format_name,
        )

    return bundle
