from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from calve.cli.train import train
from calve.config import resolve
from calve.loading import LoaderOptions
from calve.registry import registry

RECIPE = "lstm_transducer_stateless2"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments])


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data directory of which only the symbol table is there."""
    lang = tmp_path / "data" / "lang"
    lang.mkdir(parents=True)
    (lang / "tokens.txt").write_text("<blk> 0\n<unk> 1\n▁one 2\n", encoding="utf-8")
    return tmp_path / "data"


def test_help_lists_the_options_under_the_names_of_icefall() -> None:
    shown = run(RECIPE, "--help").output
    for option in (
        *("--exp-dir", "--num-epochs", "--start-epoch", "--start-batch", "--max-duration"),
        *("--prune-range", "--lm-scale", "--am-scale", "--simple-loss-scale", "--initial-lr"),
        *("--lr-batches", "--lr-epochs", "--seed", "--save-every-n", "--keep-last-k"),
        *("--average-period", "--model-warm-step", "--num-encoder-layers", "--decoder-dim"),
    ):
        assert option in shown


def test_a_corpus_that_is_not_prepared_is_an_error_that_says_how_to(tmp_path: Path) -> None:
    result = run(RECIPE, "--corpus", "fsdd", "--data-dir", tmp_path, "--exp-dir", tmp_path / "exp")
    assert result.exit_code == 1
    assert "tokens.txt" in result.output
    assert "calve prepare fsdd" in result.output
    assert not (tmp_path / "exp").exists()


def test_a_vocabulary_size_that_contradicts_the_corpus_is_an_error(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--vocab-size", 500)
    assert result.exit_code == 2
    assert "--vocab-size is 500, but the corpus has 3 symbols" in result.output


def test_impossible_training_options_are_errors(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--num-epochs", 0)
    assert result.exit_code == 2
    assert "num_epochs is 0" in result.output


def test_the_run_gets_recipe_defaults_options_and_loaders(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Any] = []
    loaders: list[tuple[Any, ...]] = []

    def load(data_dir: Path, split: str, options: LoaderOptions, *, training: bool) -> list[Any]:
        loaders.append((data_dir, split, options, training))
        return []

    family = registry().recipes.get(RECIPE).family.load()
    monkeypatch.setattr(family, "train", lambda self, run: runs.append(run))
    monkeypatch.setattr("calve_lhotse.fsdd.batches.load_batches", load)
    sizes = ("--num-encoder-layers", 1, "--encoder-dim", 8, "--rnn-hidden-size", 12)
    result = run(
        *(RECIPE, "--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp"),
        *(*sizes, "--max-duration", 30, "--seed", 7),
    )
    assert result.exit_code == 0, result.output
    (training_run,) = runs
    assert training_run.configuration["model"].vocab_size == 3
    assert training_run.configuration["encoder"].rnn_hidden_size == 12
    training = training_run.configuration["training"]
    assert (training.max_duration, training.seed, training.lr_epochs) == (30.0, 7, 10.0)
    corpus = registry().datasets.get("fsdd")
    options = resolve(LoaderOptions, corpus.loader_defaults, {"max_duration": 30.0, "seed": 7})
    assert loaders == [(prepared, "train", options, True), (prepared, "valid", options, False)]
    assert training_run.model.encoder.num_encoder_layers == 1
