from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from calve.progress import NO_PROGRESS
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.plugin import calve_register_datasets

SPEAKERS = ("george", "lucas", "theo")
INDICES = (0, 5, 6, 7)


def prepare(options: FsddOptions) -> dict[str, dict]:
    """Run every stage; what each one reports."""
    (corpus,) = calve_register_datasets()
    return {stage.name: stage.run.load()(options, NO_PROGRESS) for stage in corpus.stages}


@pytest.fixture(scope="session")
def few_recordings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of every digit: three speakers, four indices."""
    folder = tmp_path_factory.mktemp("fsdd") / "recordings"
    folder.mkdir()
    for speaker in SPEAKERS:
        for index in INDICES:
            for digit in range(10):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copyfile(shared_data / "fsdd" / "recordings" / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def options(few_recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> FsddOptions:
    """Options of a corpus that takes two seconds to prepare."""
    return FsddOptions(
        root=few_recordings,
        data_dir=tmp_path_factory.mktemp("prepared") / "fsdd",
        jobs=1,
        train_variants=3,
        test_variants=2,
        synthetic_fraction=0.2,
    )


@pytest.fixture(scope="session")
def prepared(options: FsddOptions) -> Path:
    """A prepared data directory that tests only read."""
    prepare(options)
    return options.data_dir


@pytest.fixture
def fresh(options: FsddOptions, tmp_path: Path) -> FsddOptions:
    """The same options for a directory of the test's own."""
    return replace(options, data_dir=tmp_path / "data", train_variants=1, test_variants=1)
