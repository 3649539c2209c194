from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, RecordingSet, SupervisionSet

from calve.api import ConfigError, DataError
from calve.common.children import Child, Outcome, run_children
from calve.common.progress import NO_PROGRESS
from calve.decoding.splits import read_utterances
from calve_lhotse.corpus import load_batches, load_cuts
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.own_manifests.manifests import manifests
from calve_lhotse.own_manifests.options import ManifestsOptions
from calve_lhotse.stages.features import features
from calve_lhotse.stages.language_model import lm

from .conftest import run_stages, write_own_manifests


@pytest.fixture
def own(prepared_librispeech: Path, tmp_path: Path) -> Path:
    """A folder of manifests as a lhotse recipe leaves it, of connected digits."""
    folder = tmp_path / "own"
    folder.mkdir()
    return write_own_manifests(prepared_librispeech, folder)


@pytest.fixture
def own_options(own: Path, tmp_path: Path) -> ManifestsOptions:
    return ManifestsOptions(
        manifest_dir=own,
        train=("train",),
        valid=("dev",),
        test=("test",),
        data_dir=tmp_path / "data",
        jobs=1,
        vocab_size=(30,),
        ngram_order=2,
    )


def edit(path: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    kind = RecordingSet if "_recordings_" in path.name else SupervisionSet
    items = change(list(kind.from_file(path)))
    path.unlink()
    with kind.open_writer(path) as writer:
        for item in items:
            writer.write(item)


def refused(options: ManifestsOptions, complaint: str) -> DataError:
    with pytest.raises(DataError, match=complaint) as caught:
        manifests(options, NO_PROGRESS)
    return caught.value


def written_texts(options: ManifestsOptions) -> list[str]:
    path = options.data_dir / "manifests" / "dev" / "digits_supervisions_dev.jsonl.gz"
    return [supervision.text for supervision in SupervisionSet.from_file(path)]


def test_manifests_go_through_all_stages_into_batches_and_decoding(
    own_options: ManifestsOptions, prepared_librispeech: Path
) -> None:
    report = run_stages("from-manifests", own_options)
    data_dir = own_options.data_dir
    assert {part: made["cuts"] for part, made in report["validate"].items()} == {
        "train": 90,
        "dev": 8,
        "test": 8,
    }
    assert [cut.id for cut in load_cuts(data_dir, "train")] == [
        cut.id for cut in load_cuts(prepared_librispeech, "train")
    ]
    options = SentenceLoaderOptions(
        enable_musan=False, num_workers=0, max_duration=20, num_buckets=2
    )
    batches = load_batches(data_dir, "train", options, training=True)
    assert sum(len(batch.features) for batch in batches) > 0
    assert len(read_utterances("from-manifests", data_dir, "test")) == 8
    with pytest.raises(DataError, match="no split 'dev-clean'") as caught:
        read_utterances("from-manifests", data_dir, "dev-clean")
    assert caught.value.fix == "choose one of train, dev, test, valid"
    assert run_stages("from-manifests", own_options) == report


def test_a_part_called_train_is_trained_on_together_with_the_others(
    own_options: ManifestsOptions,
) -> None:
    options = replace(own_options, train=("train", "test"), test=(), store_features=False)
    report = run_stages("from-manifests", options)
    assert report["validate"]["train"] == {"cuts": 90}
    assert len(list(load_cuts(options.data_dir, "train"))) == 90 + 24


def test_cuts_stand_for_their_recordings_and_supervisions(
    own_options: ManifestsOptions, own: Path
) -> None:
    recordings, supervisions = (
        own / f"digits_{kind}_dev.jsonl.gz" for kind in ("recordings", "supervisions")
    )
    cuts = CutSet.from_manifests(
        recordings=RecordingSet.from_file(recordings),
        supervisions=SupervisionSet.from_file(supervisions),
    )
    expected = sorted(
        (item.id, item.recording_id, item.start, item.duration, item.text)
        for item in SupervisionSet.from_file(supervisions)
    )
    shifted = [cut.truncate(offset=0.05, keep_excessive_supervisions=True) for cut in cuts]
    CutSet.from_cuts(shifted).to_file(own / "digits_cuts_dev.jsonl.gz")
    recordings.unlink()
    supervisions.unlink()
    manifests(own_options, NO_PROGRESS)
    written = own_options.data_dir / "manifests" / "dev" / "digits_supervisions_dev.jsonl.gz"
    found = sorted(
        (item.id, item.recording_id, item.start, item.duration, item.text)
        for item in SupervisionSet.from_file(written)
    )
    assert found == expected


def test_what_the_training_of_a_language_model_says_is_not_drowned_in_bars(
    own_options: ManifestsOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[str] = []

    def watched(children: Iterable[Child]) -> list[Outcome]:
        outcomes = run_children(children)
        logs.extend(outcome.log for outcome in outcomes)
        return outcomes

    monkeypatch.setattr("calve_lhotse.stages.language_model.run_children", watched)
    manifests(own_options, NO_PROGRESS)
    lm(own_options, NO_PROGRESS)
    assert len(logs) == 1
    assert "%|" not in logs[0]


def test_relative_audio_paths_become_absolute(
    own_options: ManifestsOptions,
    own: Path,
    librispeech: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def relative(recordings: list[Any]) -> list[Any]:
        for recording in recordings:
            source = recording.sources[0]
            source.source = str(Path(source.source).relative_to(librispeech))
        return recordings

    edit(own / "digits_recordings_dev.jsonl.gz", relative)
    assert "relative" in str(refused(own_options, "audio of recording .* is missing").fix)
    monkeypatch.chdir(librispeech)
    manifests(own_options, NO_PROGRESS)
    written = own_options.data_dir / "manifests" / "dev" / "digits_recordings_dev.jsonl.gz"
    for recording in RecordingSet.from_file(written):
        assert Path(recording.sources[0].source).is_relative_to(librispeech)


def test_recordings_without_a_transcript_are_left_out_and_counted(
    own_options: ManifestsOptions, own: Path
) -> None:
    edit(own / "digits_supervisions_dev.jsonl.gz", lambda items: items[2:])
    report = manifests(own_options, NO_PROGRESS)["dev"]
    assert isinstance(report, dict)
    assert (report["utterances"], report["recordings_without_transcript"]) == (6, 2)


@pytest.mark.parametrize("tag", ["<unk>", "[noise]"])
def test_a_tag_in_a_transcript_is_refused_unless_it_is_left_out(
    own_options: ManifestsOptions, own: Path, tag: str
) -> None:
    path = own / "digits_supervisions_dev.jsonl.gz"
    edit(path, lambda items: [replace(items[0], text=f"one {tag} two"), *items[1:]])
    complaint = refused(own_options, "has the tag")
    assert tag in complaint.what
    assert f"--drop-tags '{tag}'" in str(complaint.fix)
    manifests(replace(own_options, drop_tags=(tag,)), NO_PROGRESS)
    assert written_texts(own_options)[0] == "one two"


def test_a_transcript_of_a_tag_alone_is_refused(own_options: ManifestsOptions, own: Path) -> None:
    path = own / "digits_supervisions_dev.jsonl.gz"
    edit(path, lambda items: [replace(items[0], text="<unk>"), *items[1:]])
    assert refused(replace(own_options, drop_tags=("<unk>",)), "has no transcript").where


def test_transcripts_are_written_in_one_normal_form(
    own_options: ManifestsOptions, own: Path
) -> None:
    path = own / "digits_supervisions_dev.jsonl.gz"
    edit(path, lambda items: [replace(items[0], text="e\u0301te\u0301"), *items[1:]])
    manifests(own_options, NO_PROGRESS)
    assert written_texts(own_options)[0] == "\u00e9t\u00e9"


@pytest.mark.parametrize("kind", ["recordings", "supervisions"])
def test_a_missing_manifest_is_named(own_options: ManifestsOptions, own: Path, kind: str) -> None:
    (own / f"digits_{kind}_dev.jsonl.gz").unlink()
    refused(own_options, rf"dev has no {kind}: there is no digits_{kind}_dev\.jsonl\.gz")


def test_a_missing_folder_is_named(own_options: ManifestsOptions, tmp_path: Path) -> None:
    error = refused(replace(own_options, manifest_dir=tmp_path / "no"), "no such folder")
    assert str(error.where) == str(tmp_path / "no")


def test_several_names_in_one_folder_call_for_a_prefix(
    own_options: ManifestsOptions, own: Path
) -> None:
    for path in list(own.iterdir()):
        shutil.copyfile(path, own / path.name.replace("digits", "letters"))
    refused(own_options, "several names: digits, letters")
    manifests(replace(own_options, prefix="letters"), NO_PROGRESS)
    assert (own_options.data_dir / "manifests/dev/letters_recordings_dev.jsonl.gz").is_file()


def test_a_manifest_that_is_no_manifest_is_refused(
    own_options: ManifestsOptions, own: Path
) -> None:
    path = own / "digits_supervisions_dev.jsonl.gz"
    path.write_bytes(b"no gzip")
    assert str(refused(own_options, "cannot read this as a SupervisionSet").where) == str(path)


@pytest.mark.parametrize("kind", ["recordings", "supervisions"])
def test_a_pipe_or_a_device_in_place_of_a_manifest_is_refused_unread(
    own_options: ManifestsOptions, own: Path, kind: str
) -> None:
    path = own / f"digits_{kind}_dev.jsonl.gz"
    path.unlink()
    os.mkfifo(path)
    assert str(refused(own_options, "this is a pipe, not a manifest").where) == str(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert str(refused(own_options, "this is a device, not a manifest").where) == str(path)


def test_a_manifest_of_gigabytes_is_refused_unread(
    own_options: ManifestsOptions, own: Path
) -> None:
    path = own / "digits_recordings_dev.jsonl.gz"
    os.truncate(path, 2**33)
    assert str(refused(own_options, "this is no manifest: it has more than").where) == str(path)


def test_mixed_sampling_rates_are_refused(own_options: ManifestsOptions, own: Path) -> None:
    edit(
        own / "digits_recordings_dev.jsonl.gz",
        lambda items: [items[0].resample(8000), *items[1:]],
    )
    complaint = refused(own_options, "dev has recordings that are not at 16000 Hz")
    assert str(complaint.where).startswith("recording ")


def test_supervisions_of_nothing_are_refused(own_options: ManifestsOptions, own: Path) -> None:
    path = own / "digits_supervisions_dev.jsonl.gz"
    edit(path, lambda items: [replace(items[0], text=" "), *items[1:]])
    refused(own_options, "an utterance of dev has no transcript")
    path.unlink()
    path.with_name("digits_supervisions_dev.jsonl").write_text("")
    refused(own_options, "dev has no utterances")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"recording_id": "other"}, "belongs to recording other, which is not listed"),
        ({"duration": 1000.0}, "lasts from 0.* to 1000"),
        ({"channel": 1}, "is on channel 1, but the recording on 0"),
    ],
)
def test_supervisions_that_do_not_match_their_recording_are_refused(
    own_options: ManifestsOptions, own: Path, change: dict[str, Any], complaint: str
) -> None:
    edit(
        own / "digits_supervisions_dev.jsonl.gz",
        lambda items: [replace(items[0], **change), *items[1:]],
    )
    assert "lhotse fix" in str(refused(own_options, complaint).fix)


def test_recordings_of_two_channels_are_refused(own_options: ManifestsOptions, own: Path) -> None:
    def stereo(recordings: list[Any]) -> list[Any]:
        recordings[0].sources[0].channels = [0, 1]
        return [replace(recordings[0], channel_ids=[0, 1]), *recordings[1:]]

    edit(own / "digits_recordings_dev.jsonl.gz", stereo)
    refused(own_options, "belongs to a recording of 2 channels")


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("recordings", "two recordings are called"),
        ("supervisions", "an utterance of dev occurs twice"),
    ],
)
def test_names_that_occur_twice_are_refused(
    own_options: ManifestsOptions, own: Path, kind: str, complaint: str
) -> None:
    edit(own / f"digits_{kind}_dev.jsonl.gz", lambda items: [*items, items[0]])
    refused(own_options, complaint)


def test_mixed_cuts_are_refused(own_options: ManifestsOptions, own: Path) -> None:
    paths = [own / f"digits_{kind}_dev.jsonl.gz" for kind in ("recordings", "supervisions")]
    recordings, supervisions = RecordingSet.from_file(paths[0]), SupervisionSet.from_file(paths[1])
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts.pad(duration=60).to_file(own / "digits_cuts_dev.jsonl.gz")
    for path in paths:
        path.unlink()
    refused(own_options, "a cut is mixed or padded")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"train": ()}, "no part is named"),
        ({"test": ("dev",)}, "dev is named 2 times"),
        ({"train": ("dev",), "valid": ("train",)}, "called train, but does not belong to --train"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    own_options: ManifestsOptions, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        replace(own_options, **change)


def test_a_command_as_a_source_is_run_only_where_it_is_allowed(
    own: Path, own_options: ManifestsOptions, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"

    def read_by_a_command(recordings: list[Any]) -> list[Any]:
        source = recordings[0].sources[0]
        source.type, source.source = "command", f"touch {ran}; cat {source.source}"
        return recordings

    edit(next(own.glob("*_recordings_dev.jsonl*")), read_by_a_command)
    refused(own_options, r"runs a command.*touch")
    assert not ran.exists()
    manifests(replace(own_options, allow_commands=True), NO_PROGRESS)
    run_stages("from-manifests", replace(own_options, allow_commands=True))
    assert ran.exists()


def test_a_manifest_and_a_language_model_are_known_by_content_not_by_size_and_time(
    own_options: ManifestsOptions, tmp_path: Path
) -> None:
    arpa = tmp_path / "lm.arpa"
    arpa.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-1 </s>\n-1 ONE\n\n\\end\\\n")
    options = replace(own_options, lm=arpa)
    manifests(options, NO_PROGRESS)
    lm(options, NO_PROGRESS)
    (supervisions,) = own_options.manifest_dir.glob("*_supervisions_train.jsonl.gz")
    for path, change in ((arpa, ("ONE", "TWO")), (supervisions, ("ONE", "TWO"))):
        _change_unseen(path, *change)
    manifests(options, NO_PROGRESS)
    lm(options, NO_PROGRESS)
    assert "TWO" in (own_options.data_dir / "lm" / "lm.arpa").read_text()
    made = SupervisionSet.from_file(
        next((own_options.data_dir / "manifests" / "train").glob("*supervisions*"))
    )
    texts = " ".join(supervision.text for supervision in made)
    assert "TWO" in texts
    assert "ONE" not in texts


def _change_unseen(path: Path, old: str, new: str) -> None:
    """Other content of the same size, with the same times."""
    state = path.stat()
    if path.suffix == ".gz":
        content = gzip.decompress(path.read_bytes()).replace(old.encode(), new.encode())
        content = gzip.compress(content, mtime=0)
    else:
        content = path.read_bytes().replace(old.encode(), new.encode())
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def spoiled_copies(folder: Path, tmp_path: Path, spoil: dict[int, Callable[..., Any]]) -> list[Any]:
    """Recordings of the training part that are copied and spoiled; by number."""
    changed = []

    def change(items: list[Any]) -> list[Any]:
        for number, spoiled in spoil.items():
            recording = items[number]
            samples = recording.load_audio()[0]
            path = tmp_path / f"spoiled-{number}.wav"
            samples, rate = spoiled(samples)
            soundfile.write(path, samples, rate, subtype="FLOAT")
            source = replace(recording.sources[0], source=str(path))
            items[number] = replace(recording, sources=[source])
            changed.append(items[number])
        return items

    edit(folder / "digits_recordings_train.jsonl.gz", change)
    return changed


def with_nan(samples: np.ndarray) -> tuple[np.ndarray, int]:
    samples[500] = np.nan
    return samples, 16000


SPOILED = {
    "NaN": (with_nan, "NaN or infinite samples"),
    "scale of integers": (lambda samples: (samples * 32768, 16000), "full scale of floating"),
    "no samples": (lambda samples: (samples[:0], 16000), "cannot read the audio"),
    "half": (lambda samples: (samples[: len(samples) // 2], 16000), "cannot read the audio"),
    "another rate": (lambda samples: (samples, 8000), "8000"),
}


@pytest.mark.parametrize("kind", SPOILED)
@pytest.mark.parametrize("stored", ["features", "audio"])
def test_audio_that_cannot_be_trained_on_is_named(
    own_options: ManifestsOptions, own: Path, tmp_path: Path, kind: str, stored: str
) -> None:
    spoil, complaint = SPOILED[kind]
    (recording,) = spoiled_copies(own, tmp_path, {3: spoil})
    options = own_options
    if stored == "audio":
        options = replace(options, store_features=False, shar_dir=(tmp_path / "shar",))
    manifests(options, NO_PROGRESS)
    with pytest.raises(DataError, match=complaint) as caught:
        features(options, NO_PROGRESS)
    assert recording.id in str(caught.value)
    assert recording.sources[0].source in str(caught.value)


def test_the_other_recordings_go_on_and_all_that_are_unreadable_are_named(
    own_options: ManifestsOptions, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calve_lhotse.stages.features.CUTS_PER_SHARD", 10)
    recordings = spoiled_copies(own, tmp_path, dict.fromkeys((3, 7), with_nan))
    manifests(own_options, NO_PROGRESS)
    with pytest.raises(DataError, match="cannot read the audio of 6 utterances") as caught:
        features(own_options, NO_PROGRESS)
    for recording in recordings:  # at three speeds
        assert recording.sources[0].source in str(caught.value)
    assert "and 1 more" in str(caught.value)
    shards = list((own_options.data_dir / "fbank").rglob("shard-*.jsonl.gz"))
    assert 3 <= len(shards) <= 8  # of nine; those with an unreadable recording are missing
