"""From a folder as LibriSpeech's archives unpack to the text that sherpa-ncnn hears."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calve.bundle import Bundle
from calve.checkpoint import read_checkpoint
from calve.cli import run

pytestmark = pytest.mark.slow

RECIPE = "lstm_transducer_stateless2"
ENCODER = (
    *("--num-encoder-layers", "1", "--encoder-dim", "16", "--rnn-hidden-size", "24"),
    *("--dim-feedforward", "24"),
)
MODEL = (*ENCODER, "--decoder-dim", "16", "--joiner-dim", "16")


def calve(*arguments: object) -> None:
    assert run([str(argument) for argument in arguments]) == 0


def test_librispeech_goes_from_flac_files_to_what_sherpa_ncnn_says(
    librispeech: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data_dir, exp_dir, bundle = (tmp_path / name for name in ("data", "exp", "bundle"))
    corpus = ("--corpus", "librispeech", "--data-dir", data_dir)
    prepare = ("--vocab-size", 30, "--ngram-order", 2, "--full-libri", 0, "--jobs", 1)
    calve("prepare", "librispeech", "--dl-dir", librispeech, "--data-dir", data_dir, *prepare)

    amounts = ("--num-epochs", 2, "--max-duration", 40, "--num-buckets", 2, "--num-workers", 0)
    train = (*corpus, "--exp-dir", exp_dir, *MODEL, *amounts, "--enable-musan", 0)
    calve("train", RECIPE, *train)

    pretrained = tmp_path / "pretrained.pt"
    chosen = ("--exp-dir", exp_dir, "--epoch", 2, "--avg", 2, "--use-averaged-model", 0)
    calve("average", *chosen, "--output", pretrained)
    assert set(read_checkpoint(pretrained)["model"]) == set(
        read_checkpoint(exp_dir / "epoch-2.pt")["model"]
    )

    model = ("--checkpoint", pretrained, "--tokens", data_dir / "lang" / "tokens.txt")
    calve("export", RECIPE, *model, "--output", bundle)
    assert Bundle.open(bundle).path == bundle

    capfd.readouterr()
    calve("decode", RECIPE, *model, *corpus, "--split", "test-clean", "--bundle", bundle, "--json")
    rows = json.loads(capfd.readouterr().out)
    assert {row["runtime"] for row in rows} == {"torch", "ncnn", "sherpa-ncnn"}
    assert {row["utterances"] for row in rows} == {8}
