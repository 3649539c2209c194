from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calve.api import ConfigError, DataError
from calve.common.progress import NO_PROGRESS
from calve.data.audio import read_audio
from calve.data.features import FeatureConfig, compute_fbank
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.fsdd.cuts import features, load_cuts
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.fsdd.recordings import SPLITS, manifests, read_manifests
from calve_lhotse.fsdd.validation import validate
from calve_lhotse.stages.storage import Archives, FeatureShard
from calve_lhotse.synthesis import installed_synthesizers

from .conftest import prepare

FOLDERS = ("manifests", "voices", "audio", "fbank", "lang")


def heard(data_dir: Path, split: str) -> set[str]:
    """Every recording that a split lets one hear."""
    customs = [cut.supervisions[0].custom for cut in load_cuts(data_dir, split)]
    return {name for custom in customs for name in custom["pieces"] + custom["babble"]}


def modified(data_dir: Path) -> dict[str, int]:
    return {name: (data_dir / name / "stamp.json").stat().st_mtime_ns for name in FOLDERS}


def audio_of(data_dir: Path, split: str) -> dict[str, np.ndarray]:
    folder = data_dir / "audio" / split
    return {path.name: read_audio(path).samples for path in sorted(folder.iterdir())}


def test_splits_share_no_recording_and_the_held_out_speaker_is_a_stranger(prepared: Path) -> None:
    by_split = {split: heard(prepared, split) for split in SPLITS}
    assert sum(map(len, by_split.values())) == len(set().union(*by_split.values()))
    assert {name.split("_")[1] for name in by_split["heldout"]} == {"theo"}
    for split, index in (("test", "0"), ("valid", "5")):
        assert {name.split("_")[2] for name in by_split[split]} == {index}
    recorded = {name for name in by_split["train"] if "synthetic" not in name}
    assert {tuple(name.split("_")[1:]) for name in recorded} == {
        (speaker, index) for speaker in ("george", "lucas") for index in "67"
    }


def test_every_recording_occurs_as_often_as_asked(prepared: Path, options: FsddOptions) -> None:
    pieces = [
        name
        for cut in load_cuts(prepared, "heldout")
        for name in cut.supervisions[0].custom["pieces"]
    ]
    assert len(pieces) == 40 * options.test_variants
    assert len(set(pieces)) == 40


def test_transcripts_are_the_digits_that_were_joined(prepared: Path) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for cut in load_cuts(prepared, "test"):
        supervision = cut.supervisions[0]
        assert supervision.text.split() == [
            words[int(name[0])] for name in supervision.custom["pieces"]
        ]
        assert 1 <= len(supervision.text.split()) <= 7


@pytest.mark.skipif(not installed_synthesizers(), reason="no speech synthesizer here")
def test_a_share_of_the_training_utterances_is_synthetic(prepared: Path) -> None:
    names = [cut.id for cut in load_cuts(prepared, "train")]
    synthetic = sum("synthetic" in name for name in names)
    assert synthetic / len(names) == pytest.approx(0.2, abs=0.5 / len(names))
    for split in ("valid", "test", "heldout"):
        assert not any("synthetic" in cut.id for cut in load_cuts(prepared, split))


def test_without_synthesizers_the_corpus_is_made_without_them(
    fresh: FsddOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reports = prepare(fresh)
    assert "espeak-ng" in reports["voices"]["note"]
    assert reports["utterances"]["train"]["synthetic"] == 0


def test_stored_features_are_those_of_the_stored_audio(prepared: Path) -> None:
    cut = load_cuts(prepared, "test")[0]
    audio = read_audio(prepared / "audio" / "test" / f"{cut.id}.flac")
    # lilcom stores multiples of 2**-5, rounded to the nearest.
    expected = compute_fbank(audio.samples)
    np.testing.assert_allclose(cut.load_features(), expected, rtol=0, atol=2**-6)
    assert cut.num_frames == len(cut.load_features())


def test_a_prepared_directory_may_be_moved(prepared: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(prepared, moved)
    cut = load_cuts(moved, "valid")[0]
    assert cut.features.storage_path.startswith(str(moved))
    assert cut.load_audio().shape == (1, cut.num_samples)


def test_the_same_seed_gives_the_same_corpus_whatever_the_number_of_jobs(
    fresh: FsddOptions, tmp_path: Path
) -> None:
    other = replace(fresh, data_dir=tmp_path / "other", jobs=2)
    prepare(fresh), prepare(other)
    for split in SPLITS:
        first, second = audio_of(fresh.data_dir, split), audio_of(other.data_dir, split)
        assert first.keys() == second.keys()
        for name, samples in first.items():
            np.testing.assert_array_equal(samples, second[name])


def test_another_seed_gives_another_corpus(fresh: FsddOptions, tmp_path: Path) -> None:
    other = replace(fresh, data_dir=tmp_path / "other", seed=1)
    prepare(fresh), prepare(other)
    texts = [
        [cut.supervisions[0].text for cut in load_cuts(made.data_dir, "test")]
        for made in (fresh, other)
    ]
    assert texts[0] != texts[1]


def test_preparing_again_does_nothing_and_reports_the_same(
    prepared: Path, options: FsddOptions
) -> None:
    before = modified(prepared)
    first, second = prepare(options), prepare(options)
    assert first == second
    assert modified(prepared) == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"vocab_size": 50}, {"lang"}),
        ({"test_variants": 2}, {"audio", "fbank", "lang"}),
        ({"seed": 3}, {"voices", "audio", "fbank", "lang"}),
        ({"held_out_speaker": "lucas"}, {"manifests", "voices", "audio", "fbank", "lang"}),
        ({"jobs": 2}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) and value else "",
)
def test_a_changed_option_redoes_what_depends_on_it(
    fresh: FsddOptions, change: dict[str, object], redone: set[str]
) -> None:
    prepare(fresh)
    before = modified(fresh.data_dir)
    prepare(replace(fresh, **change))
    after = modified(fresh.data_dir)
    assert {name for name in FOLDERS if after[name] != before[name]} == redone


def test_recordings_that_moved_are_read_from_their_new_place(
    fresh: FsddOptions, few_digits: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(few_digits, old)
    manifests(replace(fresh, root=old), NO_PROGRESS)
    old.rename(new)
    manifests(replace(fresh, root=new), NO_PROGRESS)
    assert read_manifests(fresh.data_dir)["test"][0].path.parent == new


def test_a_lost_output_is_made_again(fresh: FsddOptions) -> None:
    prepare(fresh)
    before = modified(fresh.data_dir)
    shutil.rmtree(fresh.data_dir / "audio")
    prepare(fresh)
    after = modified(fresh.data_dir)
    assert {name for name in FOLDERS if after[name] != before[name]} == {"audio"}


def test_interrupted_features_of_one_split_keep_those_of_others(
    fresh: FsddOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Archives.write

    def interrupted(self: Archives, shard: FeatureShard) -> None:
        if self.prefix == "test-" and "test-" not in written:
            written.append(self.prefix)
            raise KeyboardInterrupt
        written.append(self.prefix)
        write(self, shard)

    monkeypatch.setattr(Archives, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(fresh)
    prepare(fresh)
    assert written == ["train-", "valid-", "test-", "test-", "heldout-"]
    for split in SPLITS:
        assert load_cuts(fresh.data_dir, split)[0].load_features().shape[1] == 80


def test_a_stage_whose_input_is_missing_names_the_stage_to_run(fresh: FsddOptions) -> None:
    manifests(fresh, NO_PROGRESS)
    with pytest.raises(DataError, match="'utterances' has not been run"):
        features(fresh, NO_PROGRESS)


@pytest.mark.parametrize(
    "change", [{"synthetic_fraction": 1.0}, {"synthetic_fraction": -0.1}, {"train_variants": 0}]
)
def test_impossible_amounts_are_refused(fresh: FsddOptions, change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        prepare(replace(fresh, **change))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_cuts_of_an_unknown_or_unprepared_split_are_an_error(tmp_path: Path, split: str) -> None:
    with pytest.raises(DataError):
        load_cuts(tmp_path, split)


def test_damaged_cuts_are_an_error_that_names_their_file(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    damaged = tmp_path / "data" / "fbank" / "fsdd_cuts_valid.jsonl.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot read the cuts") as raised:
        load_cuts(tmp_path / "data", "valid")
    assert raised.value.where == str(damaged)


def test_validation_finds_a_truncated_archive(
    prepared: Path, options: FsddOptions, tmp_path: Path
) -> None:
    damaged = replace(options, data_dir=tmp_path / "damaged")
    shutil.copytree(prepared, damaged.data_dir)
    validate(damaged, NO_PROGRESS)
    cut = load_cuts(damaged.data_dir, "test")[0]
    path = Path(cut.features.storage_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="test is damaged after 0 cuts") as caught:
        validate(damaged, NO_PROGRESS)
    assert caught.value.where == cut.id
    assert "MonoCut" not in caught.value.what


def test_the_extractor_is_known_to_lhotse_by_name() -> None:
    from lhotse.features.base import get_extractor_type

    extractor = get_extractor_type("calve-fbank")()
    assert isinstance(extractor, CalveFbank)
    assert extractor.config.fingerprint == FeatureConfig().fingerprint
    assert CalveFbank.from_dict(extractor.to_dict()).config == extractor.config


@pytest.mark.parametrize("samples", [np.zeros((2, 1600)), torch.zeros(2, 1600)])
def test_the_extractor_refuses_several_channels_and_other_rates(samples) -> None:
    with pytest.raises(DataError, match="one channel at 16000"):
        CalveFbank().extract(samples, 16000)
    with pytest.raises(DataError, match="at 8000"):
        CalveFbank().extract(samples[0], 8000)
