"""The corpora that calve brings along, in the conformance kit, as far as small data go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from calve.testing import DatasetConformance
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.librispeech.options import LibriSpeechOptions

from .conftest import PARTS_OF_OWN, write_noise, write_own_manifests


class _FromFixtures(DatasetConformance):
    """Its options are those of a fixture, which the tests of this folder share."""

    fixture: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _options(self, request: pytest.FixtureRequest) -> None:
        options: Mapping[str, Any] = request.getfixturevalue(self.fixture)
        type(self).options = {name: options[name] for name in options if name != "data_dir"}


@pytest.fixture(scope="session")
def fsdd(options: FsddOptions) -> Mapping[str, Any]:
    return asdict(options) | {"train_variants": 1, "test_variants": 1}


@pytest.fixture(scope="session")
def small_librispeech(librispeech_options: LibriSpeechOptions) -> Mapping[str, Any]:
    return asdict(librispeech_options) | {"vocab_size": (30,)}


@pytest.fixture(scope="session")
def shar_of_audio(
    small_librispeech: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Any]:
    shar_dir = (tmp_path_factory.mktemp("shar"),)
    return {**small_librispeech, "shar_dir": shar_dir, "store_features": False}


@pytest.fixture(scope="session")
def own(prepared_librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = write_own_manifests(prepared_librispeech, tmp_path_factory.mktemp("own"))
    parts = {"train": ("train",), "valid": ("dev",), "test": ("test",)}
    return {"manifest_dir": folder, **parts, "jobs": 1, "vocab_size": (30,), "ngram_order": 2}


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return {"dl_dir": write_noise(tmp_path_factory.mktemp("musan")), "jobs": 1}


class TestFsdd(_FromFixtures):
    dataset = "fsdd"
    fixture = "fsdd"
    loader_options: ClassVar[Mapping[str, Any]] = {"max_duration": 10, "num_buckets": 2}


@pytest.mark.slow
class TestLibriSpeech(_FromFixtures):
    dataset = "librispeech"
    fixture = "small_librispeech"
    splits = ("train", "valid", "train-clean-100", "dev-clean", "test-clean")
    loader_options: ClassVar[Mapping[str, Any]] = {
        **{"max_duration": 20, "num_buckets": 2, "enable_musan": False},
    }


@pytest.mark.slow
class TestSharOfAudio(TestLibriSpeech):
    fixture = "shar_of_audio"
    loader_options: ClassVar[Mapping[str, Any]] = {
        **TestLibriSpeech.loader_options,
        "on_the_fly_feats": True,
    }


@pytest.mark.slow
class TestFromManifests(_FromFixtures):
    dataset = "from-manifests"
    fixture = "own"
    splits = ("train", "valid", *PARTS_OF_OWN)
    loader_options: ClassVar[Mapping[str, Any]] = TestLibriSpeech.loader_options


class TestMusan(_FromFixtures):
    dataset = "musan"
    fixture = "noise"
    transcribed = False
