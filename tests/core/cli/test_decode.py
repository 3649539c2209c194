"""``calve decode``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calve.bundle import Bundle
from calve.cli import run

RECIPE = "lstm_transducer_stateless2"
SPEAKERS = ("george", "theo")


@pytest.fixture(scope="module")
def data_dir(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared corpus of real digits."""
    root = tmp_path_factory.mktemp("fsdd")
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in (0, 5, 6):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copyfile(shared_data / "fsdd" / "recordings" / name, root / name)
    folder = tmp_path_factory.mktemp("prepared") / "fsdd"
    arguments = {
        "--root": root,
        "--data-dir": folder,
        "--held-out-speaker": "theo",
        "--train-variants": 1,
        "--test-variants": 1,
        "--synthetic-fraction": 0,
        "--jobs": 1,
    }
    words = [str(word) for pair in arguments.items() for word in pair]
    assert run(["prepare", "fsdd", *words, "--stop-stage", "3"]) == 0
    return folder


def decode(*arguments: object) -> int:
    return run(["decode", RECIPE, *map(str, arguments)])


def test_one_command_prints_all_ways_to_decode(
    golden_checkpoint: Path,
    golden_tokens: Path,
    golden_bundle: Bundle,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
):
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir, "--split", "test", "--split", "heldout")
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    assert decode(*model, *corpus, "--bundle", golden_bundle.path, "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    ways = [(row["runtime"], row["mode"]) for row in rows if row["split"] == "test"]
    assert ways == [
        ("torch", "whole utterances"),
        ("torch", "streaming, 40 ms"),
        ("ncnn", "streaming, 40 ms"),
        ("sherpa-ncnn", "streaming"),
    ]
    assert len(rows) == 8
    for row in rows:
        errors = row["substitutions"] + row["insertions"] + row["deletions"]
        assert row["wer"] == pytest.approx(100 * errors / row["reference_words"])
        assert row["utterances"] >= 2
    torch_row, ncnn_row = rows[1], rows[2]
    assert {k: v for k, v in torch_row.items() if k != "runtime"} == {
        k: v for k, v in ncnn_row.items() if k != "runtime"
    }


def test_the_table_is_readable(
    golden_checkpoint: Path,
    golden_tokens: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
):
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir)
    assert decode(*model, *corpus, "--chunk-ms", 320) == 0
    header, _, *rows = capfd.readouterr().out.splitlines()
    assert " ".join(header.split()) == "split runtime mode WER % sub ins del words utt wrong"
    assert len(rows) == 2
    assert "streaming, 320 ms" in rows[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--corpus", "fsdd", "--split", "exam"), "exam"),
        (("--corpus", "fssd"), "fsdd"),
        (("--corpus", "fsdd", "--bundle", "/nowhere"), "/nowhere"),
        (("--corpus", "fsdd", "--chunk-ms", "50"), "multiple of 40 ms"),
    ],
)
def test_a_wrong_option_is_refused(
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
):
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    assert decode(*model, "--data-dir", tmp_path, *arguments) != 0
    assert complaint in capsys.readouterr().err


def test_corpus_folder_and_symbols_are_found_where_prepare_puts_them(
    golden_checkpoint: Path,
    golden_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    shutil.copytree(data_dir, tmp_path / "data" / "fsdd")
    lang = tmp_path / "data" / "fsdd" / "lang"
    lang.mkdir(exist_ok=True)
    shutil.copyfile(golden_tokens, lang / "tokens.txt")
    monkeypatch.chdir(tmp_path)
    assert decode("--checkpoint", golden_checkpoint, "--corpus", "fsdd") == 0
    assert "whole utterances" in capfd.readouterr().out
