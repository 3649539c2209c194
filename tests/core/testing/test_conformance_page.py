"""What is said of the kit is true: each class is on its page, each check has been seen to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

import calve.testing

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
MUTANTS = {
    "DatasetConformance": "test_datasets.py",
    "DecoderConformance": "test_decoding_methods.py",
    "EncoderConformance": "test_encoders.py",
    "ExporterConformance": "test_exporters.py",
    "FsaBackendConformance": "test_fsas.py",
    "LossBackendConformance": "test_losses.py",
    "MetadataWriterConformance": "test_metadata.py",
    "QuantizerConformance": "test_quantizers.py",
    "RuntimeConformance": "test_runtimes.py",
}


def test_every_class_of_the_kit_has_mutants() -> None:
    assert sorted(MUTANTS) == calve.testing.__all__


@pytest.mark.parametrize("name", MUTANTS)
def test_every_class_is_on_the_page(name: str) -> None:
    assert f"## {name}\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "mutants"), MUTANTS.items())
def test_every_check_is_named_where_plugins_are_broken(name: str, mutants: str) -> None:
    text = Path(__file__).with_name(mutants).read_text(encoding="utf-8")
    checks = [check for check in dir(getattr(calve.testing, name)) if check.startswith("test_")]
    missing = [check for check in checks if f'"{check.removeprefix("test_")}"' not in text]
    assert not missing
