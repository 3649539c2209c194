from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from invoking import invoke

from calve.cli.application import run as run_calve
from calve.cli.train import train
from calve.common.config import resolve
from calve.protocols.loading import WHOLE, LoaderOptions, Shard
from calve.protocols.training import TrainingData
from calve.registry.catalog import registry

pytestmark = pytest.mark.usefixtures("bundled_plugins")

RECIPE = "lstm_transducer_stateless2"


def run(*arguments: object) -> Result:
    return invoke(train, arguments)


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


def test_only_corpora_that_have_a_loader_are_offered(tmp_path: Path) -> None:
    result = run(RECIPE, "--corpus", "musan", "--exp-dir", tmp_path / "exp")
    assert result.exit_code == 2
    assert "'librispeech'" in result.output


def test_a_vocabulary_size_that_contradicts_the_corpus_is_an_error(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--vocab-size", 500)
    assert result.exit_code == 2
    assert "--vocab-size is 500, but the corpus has 3 symbols" in result.output


def test_symbols_are_those_of_the_chosen_lang_dir(prepared: Path) -> None:
    other = prepared / "lang_bpe_2"
    other.mkdir()
    (other / "tokens.txt").write_text("<blk> 0\n<unk> 1\n", encoding="utf-8")
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--lang-dir", "lang_bpe_2", "--vocab-size", 500)
    assert result.exit_code == 2
    assert "--vocab-size is 500, but the corpus has 2 symbols" in result.output
    missing = run(RECIPE, *options, "--lang-dir", "lang_bpe_9")
    assert missing.exit_code == 1
    assert "lang_bpe_9 has no symbol table" in missing.output


def test_an_option_of_the_loader_of_another_corpus_is_refused(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--full-libri", 1)
    assert result.exit_code == 2
    assert "the corpus fsdd has no such option" in result.output
    assert "--full-libri" in result.output


def test_impossible_training_options_are_errors(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--num-epochs", 0)
    assert result.exit_code == 2
    assert "'--num-epochs': 0 is not from 1" in result.output


def test_no_model_for_another_sampling_rate_is_trained(prepared: Path) -> None:
    options = ("--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp")
    result = run(RECIPE, *options, "--sample-rate", 8000)
    assert result.exit_code == 2
    assert "computes features at 16000 Hz, and no model for 8000 Hz" in result.output


class Recorded:
    """What a training command hands on."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.loaders: list[tuple[Any, ...]] = []

    def load(
        self, data_dir: Path, split: str, options: LoaderOptions, *, training: bool, shard: Shard
    ) -> list[Any]:
        self.loaders.append((data_dir, split, options, training, shard))
        return []


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    family = registry().recipes.get(RECIPE).family.load()
    monkeypatch.setattr(family, "train", lambda self, run: recorded.runs.append(run))
    monkeypatch.setattr("calve_lhotse.fsdd.batches.load_batches", recorded.load)
    return recorded


@pytest.fixture
def small(prepared: Path) -> tuple[object, ...]:
    """Arguments of a run of a small model on the prepared corpus."""
    return (
        *(RECIPE, "--corpus", "fsdd", "--data-dir", prepared, "--exp-dir", prepared / "exp"),
        *("--num-encoder-layers", 1, "--encoder-dim", 8, "--rnn-hidden-size", 12),
    )


def test_the_run_gets_recipe_defaults_options_and_loaders(
    prepared: Path, recorded: Recorded, small: tuple[object, ...]
) -> None:
    result = run(*small, "--max-duration", 30, "--seed", 7, "--num-buckets", 5)
    assert result.exit_code == 0, result.output
    (training_run,) = recorded.runs
    assert training_run.configuration["model"].vocab_size == 3
    assert training_run.configuration["encoder"].rnn_hidden_size == 12
    training = training_run.configuration["training"]
    assert (training.seed, training.lr_epochs) == (7, 10.0)
    corpus = registry().datasets.get("fsdd")
    given = {"max_duration": 30.0, "seed": 7, "num_buckets": 5}
    options = resolve(corpus.loader_options.load(), given)
    assert training_run.configuration["loading"] == options
    assert training_run.configuration["data"] == TrainingData("fsdd", prepared)
    assert recorded.loaders == [
        (prepared, "train", options, True, WHOLE),
        (prepared, "valid", options, False, WHOLE),
    ]
    assert training_run.model.encoder.num_encoder_layers == 1


def test_a_configuration_file_wins_over_defaults_and_options_over_it(
    tmp_path: Path, recorded: Recorded, small: tuple[object, ...]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        "[encoder]\nencoder_dim = 10\nrnn_hidden_size = 20\n"
        "[training]\ninitial_lr = 0.5\nlr_epochs = 3.0\nmax_duration = 44.0\n"
    )
    result = run(*small, "--config", file, "--lr-epochs", 4)
    assert result.exit_code == 0, result.output
    configuration = recorded.runs[0].configuration
    assert configuration["encoder"].rnn_hidden_size == 12
    assert (configuration["training"].initial_lr, configuration["training"].lr_epochs) == (0.5, 4.0)
    assert configuration["loading"].max_duration == 44.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainign]\nseed = 1\n", "a table 'trainign'"),
        ("[training]\nsede = 1\n", "mine.toml [training] has no option 'sede'"),
        ("[training]\nfull_libri = true\n", "mine.toml [training] has no option 'full_libri'"),
        ("encoder = 12\n", "'encoder' is not a table"),
        ("[encoder]\nencoder_dim = 'x'\n", "mine.toml [encoder].encoder_dim"),
        ("[training]\nmax_duration = true\n", "mine.toml [training].max_duration"),
    ],
)
def test_a_mistake_in_a_configuration_file_names_the_file(
    tmp_path: Path, small: tuple[object, ...], text: str, message: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    result = run(*small, "--config", file)
    assert result.exit_code == 2
    assert message in result.output
    assert "mine.toml" in result.output


def test_a_process_of_torchrun_loads_its_share_and_is_told_the_world_size(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded, small: tuple[object, ...]
) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert run(*small).exit_code == 0
    assert [loader[-1] for loader in recorded.loaders] == [Shard(2, 3)] * 2
    assert recorded.runs[0].configuration["training"].world_size == 3
    contradiction = run(*small, "--world-size", 2)
    assert contradiction.exit_code == 2
    assert "--world-size is 2, but 3 processes were started" in contradiction.output


def test_a_world_size_starts_that_many_processes_with_the_same_arguments(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded, small: tuple[object, ...]
) -> None:
    launched: list[tuple[list[str], int]] = []
    monkeypatch.setattr("calve.cli.train.launch", lambda *given: launched.append(given))
    arguments = ["--debug", "train", *map(str, small), "--world-size", "4"]
    assert run_calve(arguments) == 0
    assert launched == [(arguments, 4)]
    assert recorded.runs == []
