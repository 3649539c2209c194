from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calve.api import DataError
from calve.common.progress import NO_PROGRESS
from calve_lhotse.corpus import load_batches
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.musan.cuts import load_noise, load_utterances
from calve_lhotse.musan.options import MusanOptions
from calve_lhotse.musan.stages import features, manifests

from .conftest import run_stages, write_noise


@pytest.fixture(scope="module")
def musan_options(tmp_path_factory: pytest.TempPathFactory) -> MusanOptions:
    """Options for four recordings, laid out as MUSAN's archive unpacks."""
    folder = write_noise(tmp_path_factory.mktemp("musan"))
    return MusanOptions(dl_dir=folder, data_dir=folder / "data", jobs=1)


def test_recordings_are_cut_into_pieces_of_five_to_ten_seconds(musan_options: MusanOptions) -> None:
    reports = run_stages("musan", musan_options)
    pieces = load_noise(musan_options.data_dir)
    assert sorted(piece.duration for piece in pieces) == [7, 10, 10, 10]
    assert all(piece.load_features().shape[1] == 80 for piece in pieces)
    assert reports["features"]["cuts"] == 4
    assert run_stages("musan", musan_options) == reports


def test_training_batches_hear_it(musan_options: MusanOptions, prepared_librispeech: Path) -> None:
    run_stages("musan", musan_options)
    plain = SentenceLoaderOptions(
        enable_musan=False, enable_spec_aug=False, num_workers=0, max_duration=20, num_buckets=2
    )
    noisy = replace(plain, enable_musan=True, musan_dir=musan_options.data_dir)

    def total(chosen: SentenceLoaderOptions) -> float:
        batches = load_batches(prepared_librispeech, "train", chosen, training=True)
        return float(sum(np.asarray(batch.features).sum() for batch in batches))

    assert total(noisy) > total(plain)


def test_two_processes_list_the_same_as_one(musan_options: MusanOptions, tmp_path: Path) -> None:
    def listed(options: MusanOptions) -> dict[str, bytes]:
        reports = manifests(options, NO_PROGRESS)
        assert reports == {"music": 1, "speech": 1, "noise": 2}
        folder = options.data_dir / "manifests"
        return {path.name: gzip.decompress(path.read_bytes()) for path in folder.glob("*.gz")}

    two = replace(musan_options, data_dir=tmp_path / "two", jobs=2)
    assert listed(two) == listed(musan_options)


def test_a_damaged_recording_is_named(musan_options: MusanOptions, tmp_path: Path) -> None:
    shutil.copytree(musan_options.dl_dir / "musan", tmp_path / "musan")
    damaged = tmp_path / "musan" / "noise" / "free-sound" / "noise-free-sound-0001.wav"
    damaged.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="cannot read a recording of MUSAN") as caught:
        manifests(replace(musan_options, dl_dir=tmp_path, data_dir=tmp_path / "data"), NO_PROGRESS)
    assert caught.value.where == str(damaged)
    assert not (tmp_path / "data" / "manifests").exists()


def test_a_missing_part_is_named(musan_options: MusanOptions, tmp_path: Path) -> None:
    (tmp_path / "musan" / "music").mkdir(parents=True)
    with pytest.raises(DataError, match="speech, noise missing"):
        manifests(replace(musan_options, dl_dir=tmp_path, data_dir=tmp_path / "data"), NO_PROGRESS)


def test_features_before_manifests_name_the_stage(
    musan_options: MusanOptions, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="'manifests' has not been run"):
        features(replace(musan_options, data_dir=tmp_path), NO_PROGRESS)


def test_an_unknown_split_is_refused(musan_options: MusanOptions) -> None:
    with pytest.raises(DataError, match="no split 'train'"):
        next(load_utterances(musan_options.data_dir, "train"))
