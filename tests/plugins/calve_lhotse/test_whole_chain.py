"""From a folder as LibriSpeech's archives unpack to the text that sherpa's clients hear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.models.checkpoints import read_checkpoint
from calve.registry.catalog import registry

pytestmark = pytest.mark.slow

RECIPE = "lstm_transducer_stateless2"
ENCODER = (
    *("--num-encoder-layers", "1", "--encoder-dim", "16", "--rnn-hidden-size", "24"),
    *("--dim-feedforward", "24"),
)
MODEL = (*ENCODER, "--decoder-dim", "16", "--joiner-dim", "16")


def calve(*arguments: object) -> None:
    assert run([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def data_dir(librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `calve prepare` made of flac files and transcripts."""
    folder = tmp_path_factory.mktemp("chain") / "data"
    options = ("--vocab-size", 30, "--ngram-order", 2, "--full-libri", 0, "--jobs", 1)
    calve("prepare", "librispeech", "--dl-dir", librispeech, "--data-dir", folder, *options)
    return folder


@pytest.fixture(scope="module")
def pretrained(data_dir: Path) -> Path:
    """The average of two epochs of training."""
    exp_dir, average = data_dir.with_name("exp"), data_dir.with_name("pretrained.pt")
    amounts = ("--num-epochs", 2, "--max-duration", 40, "--num-buckets", 2, "--num-workers", 0)
    corpus = ("--corpus", "librispeech", "--data-dir", data_dir, "--enable-musan", 0)
    calve("train", RECIPE, *corpus, "--exp-dir", exp_dir, *MODEL, *amounts)
    chosen = ("--exp-dir", exp_dir, "--epoch", 2, "--avg", 2, "--use-averaged-model", 0)
    calve("average", *chosen, "--output", average)
    assert set(read_checkpoint(average)["model"]) == set(
        read_checkpoint(exp_dir / "epoch-2.pt")["model"]
    )
    return average


@pytest.fixture
def model(data_dir: Path, pretrained: Path) -> tuple[object, ...]:
    """What names the model on the command line."""
    return ("--checkpoint", pretrained, "--tokens", data_dir / "lang" / "tokens.txt")


@pytest.fixture
def decode(data_dir: Path, model: tuple[object, ...], capfd: pytest.CaptureFixture[str]) -> Any:
    """``(*options) -> rows``: the errors on test-clean, which has eight utterances."""

    def decode(*options: object) -> list[dict[str, Any]]:
        corpus = ("--corpus", "librispeech", "--data-dir", data_dir, "--split", "test-clean")
        capfd.readouterr()
        calve("decode", RECIPE, *model, *corpus, *options, "--json")
        rows: list[dict[str, Any]] = json.loads(capfd.readouterr().out)
        assert {row["utterances"] for row in rows} == {8}
        assert not any(row["failures"] for row in rows)
        return rows

    return decode


def hypotheses(folder: Path) -> Iterator[str]:
    (recogs,) = folder.glob("recogs-test-clean-*.txt")
    for line in recogs.read_text().splitlines():
        _, _, hypothesis = line.partition("\thyp=")
        if hypothesis:
            yield from json.loads(hypothesis.replace("'", '"'))


def test_every_method_decodes_with_the_graph_that_was_prepared(
    data_dir: Path, decode: Any, tmp_path: Path
) -> None:
    methods = registry().decoding_methods.names()
    assert len(methods) >= 8
    rows = decode(
        *("--decoding-method", ",".join(methods), "--LG", data_dir / "lang" / "LG.npz"),
        *("--num-paths", 20, "--res-dir", tmp_path),
    )
    assert len(rows) == len(methods)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {*methods}
    errors = {row["method"]: row["wer"] for row in rows}
    oracle = errors["fast_beam_search_nbest_oracle_num_paths_20"]
    assert oracle <= errors["fast_beam_search_nbest_num_paths_20"]
    words = {line.split()[0] for line in (data_dir / "lang" / "words.txt").read_text().splitlines()}
    for method in ("fast_beam_search_LG", "fast_beam_search_nbest_LG"):
        said = {*hypotheses(tmp_path / method)}
        assert said
        assert said <= words


@pytest.mark.parametrize(("exported", "client"), [("ncnn", "sherpa-ncnn"), ("onnx", "sherpa-onnx")])
def test_real_clients_hear_what_calve_hears_in_the_export(
    model: tuple[object, ...], decode: Any, tmp_path: Path, exported: str, client: str
) -> None:
    bundle = tmp_path / "bundle"
    calve("export", RECIPE, *model, "--format", exported, "--output", bundle)
    assert Bundle.open(bundle).path == bundle
    rows = {row["runtime"]: row for row in decode("--bundle", bundle)}
    assert {*rows} == {"torch", exported, client}
    for count in ("substitutions", "insertions", "deletions"):
        assert rows[client][count] == rows[exported][count]
    assert rows[client]["deletions"] < rows[client]["reference_words"]
