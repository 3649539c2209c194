from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from calve.data.recordings import Recording, find_recordings, find_with_references, read_transcripts
from calve.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.flac", "deep/c.WAV", "notes.md"):
        path = tmp_path / "speech" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "speech"


def test_a_folder_stands_for_its_recordings_at_any_depth(folder: Path) -> None:
    found = find_recordings([folder])
    assert found == [folder / "a.flac", folder / "b.wav", folder / "deep" / "c.WAV"]


def test_a_list_is_relative_to_its_own_folder_or_to_the_current_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = folder / "list.txt"
    listing.write_text(f"b.wav\n\n  speech/a.flac \n{folder / 'deep' / 'c.WAV'}\ngone.wav\n")
    monkeypatch.chdir(tmp_path)
    assert find_recordings([listing]) == [
        folder / "b.wav",
        Path("speech/a.flac"),
        folder / "deep" / "c.WAV",
        Path("gone.wav"),  # named when it is read
    ]


def test_a_recording_that_is_named_twice_is_used_once(folder: Path) -> None:
    assert len(find_recordings([folder, folder / "b.wav"])) == 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("empty", "the folder holds no recordings"),
        ("empty.txt", "the list of recordings is empty"),
        ("gone.txt", "there is no such list of recordings"),
        ("gone.wav", "the recording does not exist"),
    ],
)
def test_a_source_that_stands_for_nothing_is_an_error(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=what):
        find_recordings([tmp_path / name])


def test_transcripts_have_tabs_or_kaldis_spaces(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a.wav\tone  two\nutt-2 three\nsilent.wav\t\n")
    expected = {"a.wav": "one two", "utt-2": "three", "silent.wav": ""}
    assert read_transcripts(path) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_transcripts_may_come_from_windows(tmp_path: Path, end: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(f"\ufeffa.wav\tone{end}b.wav\ttwo\u2028three{end}".encode())
    assert read_transcripts(path) == {"a.wav": "one", "b.wav": "two three"}
    path.write_bytes("a.wav\tone\nb.wav\tzwölf\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read_transcripts(path)
    assert caught.value.where == f"{path}, line 2"


def test_a_list_of_recordings_may_come_from_windows(folder: Path) -> None:
    listing = folder / "list.txt"
    listing.write_bytes("\ufeffb.wav\r\na.flac\r\n".encode())
    assert find_recordings([listing]) == [folder / "b.wav", folder / "a.flac"]


@pytest.mark.parametrize("name", ["supervisions.jsonl", "cuts.jsonl.gz"])
def test_transcripts_may_be_a_lhotse_manifest(tmp_path: Path, name: str) -> None:
    entries = [
        {"id": "s1", "recording_id": "a", "text": "one  two", "speaker": "x"},
        {"id": "b", "type": "MonoCut", "supervisions": [{"text": "three"}, {"text": "four"}]},
    ]
    data = "\n".join(map(json.dumps, entries)).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_transcripts(tmp_path / name) == {"a": "one two", "b": "three four"}


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[1]",
        '{"id": "a"}',
        '{"id": ["a"], "text": "b"}',
        '{"id": {}, "text": "b"}',
        '{"id": "a", "text": 3}',
        '{"id": "a", "text": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_a_manifest_of_something_else_is_an_error_with_the_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(DataError, match="this is no supervision or cut") as caught:
        read_transcripts(tmp_path / "m.jsonl")
    assert (caught.value.where or "").endswith("m.jsonl:1")


@pytest.mark.parametrize("damage", [b"", b"\xff\xff\xff"])
def test_a_broken_gzip_is_an_error(tmp_path: Path, damage: bytes) -> None:
    whole = gzip.compress(b"{}" * 1000)
    (tmp_path / "m.jsonl.gz").write_bytes(whole[:10] + damage + whole[10 + len(damage) : -9])
    with pytest.raises(DataError, match="cannot read the transcripts"):
        read_transcripts(tmp_path / "m.jsonl.gz")


@pytest.mark.parametrize("name", ["text", "m.jsonl"])
def test_an_empty_file_of_transcripts_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(DataError, match="transcripts is empty"):
        read_transcripts(tmp_path / name)


def test_two_transcripts_of_one_recording_are_an_error_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a\tone\nb\ttwo\na\tthree\n")
    with pytest.raises(DataError, match="a has two transcripts") as caught:
        read_transcripts(path)
    assert caught.value.where == f"{path}:3"


def test_a_folders_own_transcripts_are_found(folder: Path) -> None:
    (folder / "transcripts.txt").write_text("b.wav\tone\na\ttwo\n")
    assert find_with_references([folder], None) == [
        Recording(folder / "a.flac", "two"),
        Recording(folder / "b.wav", "one"),
        Recording(folder / "deep" / "c.WAV", None),
    ]


def test_a_reference_must_know_every_recording(folder: Path, tmp_path: Path) -> None:
    reference = tmp_path / "text"
    reference.write_text("a\tone\nb\ttwo\n")
    found = find_with_references([folder / "a.flac", folder / "b.wav"], reference)
    assert [one.reference for one in found] == ["one", "two"]
    with pytest.raises(DataError, match=r"no transcript of 1 of 3 recordings, .* c\.WAV"):
        find_with_references([folder], reference)


def test_a_reference_alone_stands_for_the_recordings_beside_it(folder: Path) -> None:
    (folder / "text").write_text("a\tone\nb\ttwo\nc\tthree\n")
    assert len(find_with_references([], folder / "text")) == 3


def speech(folder: Path, recordings: str, transcripts: str | None = None) -> Path:
    """A folder of recordings, and its transcripts."""
    for name in recordings.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if transcripts is not None:
        (folder / "transcripts.txt").write_text(transcripts)
    return folder


def words(sources: list[Path], reference: Path | None = None) -> list[str | None]:
    return [one.reference for one in find_with_references(sources, reference)]


def test_recordings_of_one_name_have_the_words_of_their_own_folder(tmp_path: Path) -> None:
    a = speech(tmp_path / "a", "001.wav", "001.wav\tone\n")
    b = speech(tmp_path / "b", "001.wav", "001.wav\ttwo\n")
    assert words([a, b]) == ["one", "two"]
    assert words([b, a]) == ["two", "one"]


def test_each_folder_below_a_folder_has_its_own_transcripts(tmp_path: Path) -> None:
    speech(tmp_path / "a", "001.wav", "001\tone\n")
    speech(tmp_path / "b" / "deep", "001.wav", "001\ttwo\n")
    speech(tmp_path, "001.wav", "001\tzero\n")
    assert words([tmp_path]) == ["zero", "one", "two"]


def test_a_recording_has_no_words_of_another_folder_than_those_on_its_path(tmp_path: Path) -> None:
    a = speech(tmp_path / "a", "001.wav", "001.wav\tone\n")
    b = speech(tmp_path / "b", "001.wav")
    assert words([a, b]) == ["one", None]


def test_a_recording_that_is_named_itself_has_the_words_beside_it(tmp_path: Path) -> None:
    a = speech(tmp_path / "a", "001.wav", "001.wav\tone\n")
    assert words([a / "001.wav"]) == ["one"]
    (tmp_path / "list.txt").write_text("a/001.wav\n")
    assert words([tmp_path / "list.txt"]) == ["one"]


def test_transcripts_may_name_recordings_by_their_path(tmp_path: Path) -> None:
    text = "a/001.wav\tone\nb/001\ttwo\n"
    folder = speech(tmp_path, "a/001.wav b/001.wav", text)
    assert words([folder]) == ["one", "two"]
    assert words([folder / "b", folder / "a"], folder / "transcripts.txt") == ["two", "one"]


def test_a_name_is_that_of_the_recording_beside_the_transcripts(tmp_path: Path) -> None:
    folder = speech(tmp_path, "001.wav a/001.wav", "001.wav\tone\n")
    assert words([folder]) == ["one", None]
    with pytest.raises(DataError, match="no transcript of 1 of 2 recordings"):
        find_with_references([folder], folder / "transcripts.txt")


@pytest.mark.parametrize("by_option", [False, True])
def test_a_transcript_of_two_recordings_is_an_error_that_names_both(
    tmp_path: Path, by_option: bool
) -> None:
    folder = speech(tmp_path, "a/001.wav b/001.wav", "001.wav\tone\n")
    reference = folder / "transcripts.txt"
    with pytest.raises(DataError, match=r"a/001\.wav and .*b/001\.wav") as caught:
        find_with_references([folder], reference if by_option else None)
    assert caught.value.where == str(reference)
    assert "a/001.wav" in str(caught.value.fix)


def test_a_recording_that_is_named_in_two_ways_is_one(tmp_path: Path) -> None:
    folder = speech(tmp_path, "a/001.wav", "001.wav\tone\n")
    sources = [folder, folder / "b" / ".." / "a"]
    (folder / "b").mkdir()
    assert words(sources, folder / "transcripts.txt") == ["one", "one"]


def test_a_name_and_words_in_another_normal_form_are_found(tmp_path: Path) -> None:
    name = "cafe\u0301.wav"  # as macOS names it
    (tmp_path / name).touch()
    (tmp_path / "transcripts.txt").write_text("caf\u00e9.wav\te\u0301te\u0301\n", encoding="utf-8")
    assert words([tmp_path]) == ["\u00e9t\u00e9"]


def test_two_names_that_differ_in_their_normal_form_alone_are_two_transcripts_of_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "transcripts.txt"
    path.write_text("caf\u00e9.wav\tone\ncafe\u0301.wav\ttwo\n", encoding="utf-8")
    with pytest.raises(DataError, match="has two transcripts"):
        read_transcripts(path)


def test_hidden_files_beside_recordings_are_passed_over(folder: Path) -> None:
    expected = find_recordings([folder])
    (folder / f"._{expected[0].name}").write_bytes(b"\0\5\26\7")
    assert find_recordings([folder]) == expected
