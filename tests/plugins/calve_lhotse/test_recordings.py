from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from calve.api import DataError
from calve.common.progress import NO_PROGRESS
from calve_lhotse.fsdd.options import FsddOptions
from calve_lhotse.fsdd.recordings import (
    SPLITS,
    find_recordings,
    manifests,
    read_manifests,
    split_recordings,
)


@pytest.fixture
def folder(tmp_path: Path):
    """A folder of empty files with the data set's names."""

    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).touch()
        return tmp_path

    return make


def names(speakers: str, indices: range) -> list[str]:
    return [f"{digit}_{s}_{i}.wav" for s in speakers for i in indices for digit in (0, 9)]


def test_recordings_are_found_in_the_folder_or_under_its_parent(few_digits: Path) -> None:
    found = find_recordings(few_digits)
    assert found == find_recordings(few_digits.parent)
    assert Counter(recording.word for recording in found)["seven"] == 12
    assert {recording.speaker for recording in found} == {"george", "lucas", "theo"}


def test_any_set_of_speakers_is_split(folder) -> None:
    found = find_recordings(folder(*names("abc", range(8))))
    splits = split_recordings(found, "b")
    assert {r.speaker for r in splits["heldout"]} == {"b"}
    assert {r.index for r in splits["test"]} == {0, 1, 2, 3, 4}
    assert {r.index for r in splits["valid"]} == {5}
    assert {r.index for r in splits["train"]} == {6, 7}
    for split in ("train", "valid", "test"):
        assert {r.speaker for r in splits[split]} == {"a", "c"}
    assert sorted(r for split in SPLITS for r in splits[split]) == found


@pytest.mark.parametrize(("speakers", "held_out"), [("ab", "theo"), ("a", "a")])
def test_a_speaker_that_cannot_be_held_out_is_an_error_naming_those_there_are(
    folder, speakers: str, held_out: str
) -> None:
    found = find_recordings(folder(*names(speakers, range(8))))
    with pytest.raises(DataError, match=f"hold out speaker '{held_out}'.* of {speakers[0]}"):
        split_recordings(found, held_out)


def test_an_empty_split_is_an_error_naming_it(folder) -> None:
    found = find_recordings(folder(*names("ab", range(6))))
    with pytest.raises(DataError, match="train split"):
        split_recordings(found, "b")


def test_a_missing_folder_is_an_error_saying_where_the_data_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        find_recordings(tmp_path / "nowhere")
    assert "free-spoken-digit-dataset" in str(caught.value.fix)


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no WAV files"):
        find_recordings(tmp_path)


@pytest.mark.parametrize("name", ["music.wav", "10_a_0.wav", "1_a.wav", "1_a_b_0.wav", "1_a_x.wav"])
def test_a_foreign_file_name_is_an_error_naming_it(folder, name: str) -> None:
    with pytest.raises(DataError, match=f"1 of 17 .* for example {name}"):
        find_recordings(folder(name, *names("a", range(8))))


def test_an_unreadable_recording_is_named_and_nothing_is_left(
    folder, tmp_path: Path, few_digits: Path
) -> None:
    root = folder(*(path.name for path in few_digits.iterdir()))
    for path in few_digits.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    (root / "3_lucas_6.wav").write_bytes(b"RIFF and then nothing")
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match="cannot read") as caught:
        manifests(FsddOptions(root=root, data_dir=data_dir), NO_PROGRESS)
    assert str(caught.value.where).endswith("3_lucas_6.wav")
    assert not data_dir.exists()


def test_manifests_read_back_as_the_recordings_they_list(prepared: Path, options) -> None:
    splits = read_manifests(prepared)
    assert sorted(r for members in splits.values() for r in members) == find_recordings(
        options.root
    )
