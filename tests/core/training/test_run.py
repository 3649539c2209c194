"""``calve.train``: what Python asks for is what the command line would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import calve
from calve.cli.application import run as run_calve
from calve.common.progress import NO_PROGRESS
from calve.errors import ConfigError, DataError
from calve.protocols import Shard, TrainingRun
from calve.registry.catalog import registry

pytestmark = pytest.mark.usefixtures("bundled_plugins")

RECIPE = "lstm_transducer_stateless2"
SMALL = {"num_encoder_layers": 1, "encoder_dim": 8, "rnn_hidden_size": 12}


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A data directory of which only the symbol table is there."""
    lang = tmp_path / "data" / "lang"
    lang.mkdir(parents=True)
    (lang / "tokens.txt").write_text("<blk> 0\n<unk> 1\n▁one 2\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[TrainingRun]:
    """The runs that reach the recipe's family, which trains none of them."""
    runs: list[TrainingRun] = []
    family = registry().recipes.get(RECIPE).family.load()
    monkeypatch.setattr(family, "train", lambda self, run: runs.append(run))
    monkeypatch.setattr("calve_lhotse.fsdd.batches.load_batches", lambda *given, **named: [])
    return runs


def _command(prepared: Path, *options: str) -> list[str]:
    folders = ["--data-dir", str(prepared), "--exp-dir", str(prepared / "exp")]
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    return ["train", RECIPE, "--corpus", "fsdd", *folders, *small, *options]


def test_arguments_are_the_options_of_the_command_line(
    prepared: Path, runs: list[TrainingRun], tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nlr_epochs = 3.0\nseed = 9\n")
    calve.train(
        RECIPE,
        corpus="fsdd",
        data_dir=str(prepared),
        exp_dir=str(prepared / "exp"),
        config=file,
        max_duration=30.0,
        use_fp16=False,
        seed=7,
        **SMALL,
    )
    options = ("--max-duration", "30", "--no-use-fp16", "--seed", "7", "--config", str(file))
    assert run_calve(_command(prepared, *options)) == 0
    of_python, of_command = runs
    assert of_python.configuration == of_command.configuration
    assert of_python.configuration["training"].seed == 7
    assert of_python.configuration["training"].lr_epochs == 3.0
    assert of_python.exp_dir == of_command.exp_dir
    for ours, theirs in zip(
        of_python.model.parameters(), of_command.model.parameters(), strict=True
    ):
        assert ours.equal(theirs)


def test_nothing_is_printed_unless_asked(
    prepared: Path, runs: list[TrainingRun], capfd: pytest.CaptureFixture[str]
) -> None:
    calve.train(RECIPE, corpus="fsdd", data_dir=prepared, exp_dir=prepared / "exp", **SMALL)
    assert runs[0].progress is NO_PROGRESS
    assert capfd.readouterr() == ("", "")


def test_a_misspelt_option_is_an_error_with_a_suggestion(prepared: Path) -> None:
    with pytest.raises(ConfigError, match="has an option 'num_epoch'") as caught:
        calve.train(RECIPE, corpus="fsdd", data_dir=prepared, exp_dir="exp", num_epoch=3)
    assert caught.value.fix is not None
    assert "'num_epochs'" in caught.value.fix


def test_a_value_of_the_wrong_type_is_an_error(prepared: Path) -> None:
    with pytest.raises(ConfigError, match="num_epochs"):
        calve.train(RECIPE, corpus="fsdd", data_dir=prepared, exp_dir="exp", num_epochs="many")


def test_a_corpus_without_a_loader_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the corpus musan has no loader"):
        calve.train(RECIPE, corpus="musan", exp_dir=tmp_path / "exp")


def test_a_corpus_that_is_not_prepared_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="has not been prepared here") as caught:
        calve.train(RECIPE, corpus="fsdd", exp_dir="exp")
    assert caught.value.where == "data/fsdd/lang/tokens.txt"
    assert list(tmp_path.iterdir()) == []


def test_the_processes_of_a_world_get_the_same_options_on_their_command_line(
    prepared: Path, runs: list[TrainingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[list[str], int]] = []
    monkeypatch.setattr("calve.training.run.launch", lambda *given: launched.append(given))
    asked: dict[str, Any] = {"world_size": 3, "use_fp16": True, "valid_interval": 7, "seed": 5}
    calve.train(
        RECIPE, corpus="fsdd", data_dir=prepared, exp_dir=prepared / "exp", **SMALL, **asked
    )
    ((arguments, world_size),) = launched
    assert world_size == 3
    assert runs == []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert run_calve(arguments) == 0
    (run,) = runs
    training = run.configuration["training"]
    assert {name: getattr(training, name) for name in asked} == asked
    assert run.model.encoder.num_encoder_layers == 1


def test_a_process_that_torchrun_started_trains_on_its_shard(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, runs: list[TrainingRun]
) -> None:
    shards: list[Shard] = []
    monkeypatch.setattr(
        "calve_lhotse.fsdd.batches.load_batches",
        lambda *given, training, shard: shards.append(shard) or [],
    )
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    calve.train(RECIPE, corpus="fsdd", data_dir=prepared, exp_dir=prepared / "exp", **SMALL)
    assert shards == [Shard(1, 2), Shard(1, 2)]
    assert runs[0].configuration["training"].world_size == 2
