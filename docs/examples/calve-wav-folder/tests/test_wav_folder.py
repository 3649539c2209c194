"""The corpus keeps what the conformance kit demands of any, and refuses what is wrong."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from calve.api import AudioError, DataError
from calve.common.progress import NO_PROGRESS
from calve.protocols import LoaderOptions, Shard
from calve.testing import DatasetConformance
from calve_wav_folder.loader import open_loader
from calve_wav_folder.options import WavFolderOptions
from calve_wav_folder.preparation import recordings, symbols

SPLITS = ["train"] * 7 + ["valid"] * 2 + ["test"]
WORDS = ("low", "high")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings of noise, of 0.4 to 0.6 seconds."""
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    lines = ["file,words,split"]
    for number, split in enumerate(SPLITS):
        name = f"{split}/{number}.wav"
        (folder / split).mkdir(exist_ok=True)
        samples = random.normal(0, 3000, 6400 + 400 * (number % 5)).astype("<i2")
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(samples.tobytes())
        lines.append(f"{name},{' '.join(WORDS[: 1 + number % 2])},{split}")
    (folder / "utterances.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


class TestWavFolder(DatasetConformance):
    dataset = "wav-folder"
    loader_options: ClassVar[Mapping[str, Any]] = {"max_duration": 1.2}

    @pytest.fixture(autouse=True)
    def _recordings(self, root: Path) -> None:
        type(self).options = {"root": root}


def prepare(root: Path, data_dir: Path) -> None:
    options = WavFolderOptions(root=root, data_dir=data_dir)
    recordings(options, NO_PROGRESS)
    symbols(options, NO_PROGRESS)


def test_symbols_are_the_characters_of_the_words(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path)
    lines = (tmp_path / "lang" / "tokens.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split()[0] for line in lines]
    assert found == ["<blk>", "<sos/eos>", "<unk>", "▁", *"ghilow"]
    (batch, *_) = open_loader(tmp_path, "valid", LoaderOptions(num_workers=0), training=False)
    spelled = "".join(found[token] for token in batch.tokens[0])
    assert spelled in ("▁low", "▁low▁high")


def test_batches_made_by_worker_processes_are_the_same(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path)
    names = [
        [
            batch.cut_ids
            for batch in open_loader(
                tmp_path,
                "train",
                LoaderOptions(num_workers=workers, max_duration=1.2),
                training=True,
            )
        ]
        for workers in (0, 2)
    ]
    assert names[0] == names[1]


def test_a_recording_that_is_gone_is_named_by_a_worker_too(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path)
    path = tmp_path / "utterances.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["path"] = str(tmp_path / "gone.wav")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for workers in (0, 1):
        options = LoaderOptions(num_workers=workers)
        with pytest.raises(AudioError, match="the recording does not exist") as caught:
            list(open_loader(tmp_path, "train", options, training=True))
        assert "gone.wav" in str(caught.value.where)


def test_more_processes_than_utterances_each_have_a_batch(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path)
    options = LoaderOptions(num_workers=0)
    for rank in range(5):
        batches = list(
            open_loader(tmp_path, "valid", options, training=False, shard=Shard(rank, 5))
        )
        assert [len(batch.cut_ids) for batch in batches] == [1]


def test_limits_of_length_hold_for_training_alone(root: Path, tmp_path: Path) -> None:
    prepare(root, tmp_path)
    options = LoaderOptions(num_workers=0, longest_utterance=0.01)
    assert list(open_loader(tmp_path, "valid", options, training=False))
    with pytest.raises(DataError, match="no utterance of an allowed length"):
        open_loader(tmp_path, "train", options, training=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,words\na.wav,one\n", "there is no column split"),
        ("file,words,split\na.wav,,train\n", "a.wav has no words"),
        ("file,words,split\na.wav,one,exam\n", "there is no split 'exam'"),
        ("file,words,split\na.wav,one,train\n", "the recording does not exist"),
        ("file,words,split\n", "no recording belongs to train or valid"),
    ],
)
def test_a_wrong_list_is_refused_and_nothing_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "utterances.csv").write_text(text, encoding="utf-8")
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, data_dir)
    assert not data_dir.exists()


def test_a_recording_that_is_listed_twice_is_refused(root: Path, tmp_path: Path) -> None:
    lines = (root / "utterances.csv").read_text(encoding="utf-8").splitlines()
    for split in ("train", "valid", "test"):
        (tmp_path / split).symlink_to(root / split)
    (tmp_path / "utterances.csv").write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"train/0\.wav is listed twice"):
        prepare(tmp_path, tmp_path / "data")
