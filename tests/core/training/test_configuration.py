"""The options of a training run: the recipe's defaults, a file, and given options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calve.common.config import resolve
from calve.errors import ConfigError, DataError, PluginError
from calve.protocols.training import TrainingData
from calve.registry.catalog import registry
from calve.training.configuration import TrainingRequest, configure, options_by_table

pytestmark = pytest.mark.usefixtures("bundled_plugins")

RECIPE, CORPUS = "lstm_transducer_stateless2", "fsdd"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that holds only the symbol table."""
    lang = tmp_path / "data" / "lang"
    lang.mkdir(parents=True)
    (lang / "tokens.txt").write_text("<blk> 0\n<unk> 1\n▁one 2\n", encoding="utf-8")
    return tmp_path / "data"


def _request(data_dir: Path, **changes: Any) -> TrainingRequest:
    return TrainingRequest(RECIPE, CORPUS, data_dir, data_dir / "exp", **changes)


def test_without_options_the_recipe_and_the_corpus_decide(data_dir: Path):
    configuration = configure(_request(data_dir))
    assert configuration["model"].vocab_size == 3
    assert configuration["data"] == TrainingData(CORPUS, data_dir)
    corpus = registry().datasets.get(CORPUS)
    assert configuration["loading"] == resolve(corpus.loader_options.load(), {})
    assert not (data_dir / "exp").exists()


def test_given_options_win_over_the_file_and_the_file_over_the_recipe(data_dir: Path):
    file = data_dir / "mine.toml"
    file.write_text(
        "[encoder]\nencoder_dim = 10\nrnn_hidden_size = 20\n"
        "[training]\ninitial_lr = 0.5\nmax_duration = 44.0\n"
    )
    plain = configure(_request(data_dir))
    mine = configure(_request(data_dir, config=file, encoder={"rnn_hidden_size": 12}))
    assert plain["encoder"].encoder_dim != 10
    assert (mine["encoder"].encoder_dim, mine["encoder"].rnn_hidden_size) == (10, 12)
    assert mine["training"].initial_lr == 0.5
    assert mine["loading"].max_duration == 44.0
    assert mine["training"].lr_epochs == plain["training"].lr_epochs


def test_an_option_of_trainer_and_loader_reaches_both(data_dir: Path):
    configuration = configure(_request(data_dir, training={"seed": 7}))
    assert (configuration["training"].seed, configuration["loading"].seed) == (7, 7)


def test_a_request_is_not_changed(data_dir: Path):
    model: dict[str, Any] = {}
    configure(_request(data_dir, model=model))
    assert model == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"vocab_size": 500}}, "--vocab-size is 500, but the corpus has 3 symbols"),
        ({"training": {"full_libri": True}}, "the corpus fsdd has no such option"),
        ({"encoder": {"encoder_dimm": 8}}, "encoder_dimm"),
        ({"model": {"sample_rate": 8000}}, "no model for 8000 Hz"),
    ],
)
def test_mistakes_in_options_are_named(data_dir: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        configure(_request(data_dir, **changes))


def test_a_corpus_without_symbols_is_an_error_that_names_the_command(tmp_path: Path):
    with pytest.raises(DataError, match="has not been prepared here") as caught:
        configure(_request(tmp_path))
    assert caught.value.fix == f"calve prepare fsdd --data-dir {tmp_path}"


def test_a_corpus_without_a_loader_cannot_be_trained_on(data_dir: Path):
    request = TrainingRequest(RECIPE, "musan", data_dir, data_dir / "exp")
    with pytest.raises(ConfigError, match="the corpus musan has no loader"):
        configure(request)


def test_the_launcher_decides_the_number_of_processes(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert configure(_request(data_dir))["training"].world_size == 3
    with pytest.raises(ConfigError, match="--world-size is 2, but 3 processes were started"):
        configure(_request(data_dir, training={"world_size": 2}))


def test_options_are_sorted_into_tables_by_name():
    options = {"encoder_dim": 8, "decoder_dim": 9, "num_epochs": 2, "max_duration": 30.0}
    assert options_by_table(RECIPE, CORPUS, options) == {
        "encoder": {"encoder_dim": 8},
        "model": {"decoder_dim": 9},
        "training": {"num_epochs": 2, "max_duration": 30.0},
    }


def test_an_option_of_neither_recipe_nor_corpus_gets_a_suggestion():
    with pytest.raises(ConfigError, match="has an option 'num_epoch'") as caught:
        options_by_table(RECIPE, CORPUS, {"num_epoch": 2})
    assert "'num_epochs'" in (caught.value.fix or "")


def test_unknown_recipes_and_corpora_are_errors(data_dir: Path):
    with pytest.raises(PluginError, match="no recipe 'nothing'"):
        configure(TrainingRequest("nothing", CORPUS, data_dir, data_dir / "exp"))
    with pytest.raises(PluginError, match="no corpus 'nothing'"):
        configure(TrainingRequest(RECIPE, "nothing", data_dir, data_dir / "exp"))
