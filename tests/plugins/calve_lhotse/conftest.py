from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calve.common.progress import NO_PROGRESS
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.librispeech.options import LibriSpeechOptions
from calve_lhotse.plugin import calve_register_datasets

PARTS_OF_OWN = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
SECONDS_OF_NOISE = {
    "music/fma/music-fma-0000": 23,
    "speech/us-gov/speech-us-gov-0000": 12,
    "noise/free-sound/noise-free-sound-0000": 7,
    "noise/free-sound/noise-free-sound-0001": 3,
}


def prepare(options: FsddOptions) -> dict[str, dict]:
    """Run every stage; what each one reports."""
    return run_stages("fsdd", options)


def run_stages(name: str, options: Any) -> dict[str, dict]:
    """Run every stage of a corpus; what each one reports."""
    (corpus,) = (corpus for corpus in calve_register_datasets() if corpus.name == name)
    return {stage.name: stage.run.load()(options, NO_PROGRESS) for stage in corpus.stages}


@pytest.fixture(scope="session")
def options(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> FsddOptions:
    """Options of a corpus that takes two seconds to prepare."""
    return FsddOptions(
        root=few_digits,
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


@pytest.fixture(scope="session")
def librispeech(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download folder with a small ``LibriSpeech``, laid out as its archives unpack.

    Its utterances are connected digits: 30 to train on, 8 in dev-clean and 8 in test-clean.
    """
    folder = tmp_path_factory.mktemp("download")
    for part, split, count in (
        ("train-clean-100", "train", 30),
        ("dev-clean", "valid", 8),
        ("test-clean", "test", 8),
    ):
        _write_librispeech_part(folder / "LibriSpeech" / part, prepared, split, count)
    return folder


def _write_librispeech_part(part: Path, prepared: Path, split: str, count: int) -> None:
    cuts = sorted(load_cuts(prepared, split), key=lambda cut: cut.id)[:count]
    for number, cut in enumerate(cuts):
        speaker, chapter = 19 + number % 2, 198
        folder = part / str(speaker) / str(chapter)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{speaker}-{chapter}-{number:04d}"
        shutil.copyfile(cut.recording.sources[0].source, folder / f"{name}.flac")
        with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as transcripts:
            transcripts.write(f"{name} {cut.supervisions[0].text.upper()}\n")


@pytest.fixture(scope="session")
def librispeech_options(
    librispeech: Path, tmp_path_factory: pytest.TempPathFactory
) -> LibriSpeechOptions:
    """Options that fit it."""
    return LibriSpeechOptions(
        dl_dir=librispeech,
        data_dir=tmp_path_factory.mktemp("prepared-librispeech") / "data",
        full_libri=False,
        jobs=1,
        vocab_size=(40, 30),
        ngram_order=2,
    )


@pytest.fixture(scope="session")
def prepared_librispeech(librispeech_options: LibriSpeechOptions) -> Path:
    """Its data directory, which tests only read."""
    run_stages("librispeech", librispeech_options)
    return librispeech_options.data_dir


def write_own_manifests(prepared_librispeech: Path, folder: Path) -> Path:
    """Manifests as a lhotse recipe leaves them, of connected digits; returns their folder."""
    for part, source in PARTS_OF_OWN.items():
        for kind in ("recordings", "supervisions"):
            shutil.copyfile(
                prepared_librispeech
                / "manifests"
                / source
                / f"librispeech_{kind}_{source}.jsonl.gz",
                folder / f"digits_{kind}_{part}.jsonl.gz",
            )
    return folder


def write_noise(folder: Path) -> Path:
    """Four recordings, laid out as MUSAN's archive unpacks; returns the folder."""
    generator = np.random.default_rng(0)
    for name, seconds in SECONDS_OF_NOISE.items():
        path = folder / "musan" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, generator.normal(scale=0.1, size=seconds * 16000), 16000)
    return folder
