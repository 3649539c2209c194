"""The trainer on a made-up corpus: every symbol is a hum in a band of its own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.api import CalveError, CheckpointError, ConfigError, PluginError
from calve.checkpoint import CheckpointChoice, load_state_dict, read_checkpoint
from calve.models import ModelBuilder, load_model
from calve.progress import NO_PROGRESS
from calve.protocols import Batch, TrainingRun
from calve_transducer.losses import TorchLossBackend
from calve_transducer.trainer import train
from calve_transducer.training_config import TrainingConfig

RECIPE = "lstm_transducer_stateless2"
ENCODER = {
    **{"num_encoder_layers": 2, "encoder_dim": 16, "rnn_hidden_size": 24, "dim_feedforward": 24},
    **{"conv_layer1_channels": 2, "conv_layer2_channels": 3, "conv_layer3_channels": 4},
}
MODEL = {"vocab_size": 6, "decoder_dim": 16, "joiner_dim": 16}
BATCHES_PER_EPOCH = 8
FRAMES_PER_SYMBOL = 16

Metrics = dict[int, dict[str, float]]
Change = Callable[[int, Batch], Batch]


class Hums:
    """A `calve.protocols.BatchLoader` whose batches follow from seed, epoch and index."""

    def __init__(self, change: Change = lambda index, batch: batch) -> None:
        self._epoch = self._index = 0
        self._change = change

    def __iter__(self) -> Iterator[Batch]:
        while self._index < BATCHES_PER_EPOCH:
            batch = self._change(self._index, self._batch())
            self._index += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        self._epoch, self._index = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "index": self._index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._epoch, self._index = state["epoch"], state["index"]

    def _batch(self) -> Batch:
        generator = torch.Generator().manual_seed(1000 * self._epoch + self._index)
        lens = torch.randint(2, 5, (4,), generator=generator).tolist()
        tokens = [torch.randint(1, 6, (n,), generator=generator).tolist() for n in lens]
        frames = [FRAMES_PER_SYMBOL * n + 9 for n in lens]
        features = torch.full((4, max(frames), 80), math.log(1e-10))
        for row, symbols in enumerate(tokens):
            features[row, : frames[row]] = torch.randn(frames[row], 80, generator=generator) - 8
            for position, symbol in enumerate(symbols):
                start = 4 + FRAMES_PER_SYMBOL * position
                features[row, start : start + 10, 12 * symbol : 12 * symbol + 12] += 8
        ids = [f"hum-{self._epoch}-{self._index}-{row}" for row in range(4)]
        return Batch(features, torch.tensor(frames), tokens, ids)


def hum_run(
    exp_dir: Path,
    *,
    change: Change = lambda index, batch: batch,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    encoder: Mapping[str, Any] | None = None,
    **options: Any,
) -> TrainingRun:
    torch.set_num_threads(1)
    defaults = {"num_epochs": 1, "model_warm_step": 4, "log_interval": 1, "average_period": 2}
    training = TrainingConfig(**{**defaults, **options})
    builder = ModelBuilder(RECIPE)
    configuration = builder.resolve({"encoder": {**ENCODER, **(encoder or {})}, "model": MODEL})
    torch.manual_seed(training.seed)
    return TrainingRun(
        model=builder.build(configuration),
        recipe=RECIPE,
        configuration={**configuration, "training": training},
        train=Hums(change),
        valid=Hums(),
        exp_dir=exp_dir,
        progress=NO_PROGRESS,
        on_metrics=on_metrics,
    )


def train_hums(exp_dir: Path, **options: Any) -> Metrics:
    """Train and return the metrics of each step, without those that are times."""
    found: Metrics = {}

    def collect(step: int, metrics: dict[str, float]) -> None:
        kept = {name: value for name, value in metrics.items() if name != "seconds"}
        found.setdefault(step, {}).update(kept)

    train(hum_run(exp_dir, on_metrics=collect, **options))
    return found


def log_text(exp_dir: Path) -> str:
    return "".join(path.read_text() for path in sorted((exp_dir / "log").iterdir()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    """An uninterrupted run of three epochs."""
    exp_dir = tmp_path_factory.mktemp("finished")
    metrics = train_hums(exp_dir, num_epochs=3, save_every_n=6)
    return exp_dir, metrics


def test_training_learns_and_leaves_its_files(finished: tuple[Path, Metrics]) -> None:
    exp_dir, metrics = finished
    assert sorted(metrics) == list(range(1, 3 * BATCHES_PER_EPOCH + 1))
    valid = [metrics[step]["valid_simple_loss"] for step in (8, 16, 24)]
    assert valid == sorted(valid, reverse=True)
    assert valid[-1] < 0.5 * metrics[1]["simple_loss"]
    assert sorted(path.name for path in exp_dir.iterdir()) == [
        *("best-train-loss.pt", "best-valid-loss.pt"),
        *("checkpoint-12.pt", "checkpoint-18.pt", "checkpoint-24.pt", "checkpoint-6.pt"),
        *("config.json", "epoch-1.pt", "epoch-2.pt", "epoch-3.pt", "log", "tensorboard"),
    ]
    saved = json.loads((exp_dir / "config.json").read_text())
    assert saved["recipe"] == RECIPE
    assert saved["encoder"]["rnn_hidden_size"] == 24
    assert saved["training"]["num_epochs"] == 3
    assert any((exp_dir / "tensorboard").iterdir())
    assert "epoch 3, batch 24: loss" in log_text(exp_dir)


def test_checkpoints_have_the_entries_of_icefall(
    finished: tuple[Path, Metrics], goldens: Path
) -> None:
    expected = read_checkpoint(goldens / "averaging" / "checkpoint-400.pt")
    actual = read_checkpoint(finished[0] / "checkpoint-12.pt")
    # A constant of the encoder in calve, not a parameter.
    assert expected.keys() - actual.keys() == {"subsampling_factor"}
    for entry in ("scheduler", "optimizer"):
        assert actual[entry].keys() == expected[entry].keys()
    group, expected_group = (x["optimizer"]["param_groups"][0] for x in (actual, expected))
    assert expected_group.keys() <= group.keys()
    assert actual["optimizer"]["state"][0].keys() == expected["optimizer"]["state"][0].keys()
    assert actual["batch_idx_train"] == 12
    assert actual["cur_epoch"] == 2
    assert all(value.dtype != torch.float64 for value in actual["model_avg"].values())


def test_checkpoints_load_and_average_as_models(finished: tuple[Path, Metrics]) -> None:
    model = load_model(RECIPE, str(finished[0] / "best-valid-loss.pt"))
    assert not model.training
    choice = CheckpointChoice(exp_dir=finished[0], epoch=3, avg=2, use_averaged_model=True)
    assert load_state_dict(choice).state_dict.keys() == model.state_dict().keys()


def test_the_running_average_is_the_mean_of_the_models(tmp_path: Path) -> None:
    train_hums(tmp_path, average_period=2, save_every_n=2)
    files = [tmp_path / f"checkpoint-{n}.pt" for n in range(2, BATCHES_PER_EPOCH + 1, 2)]
    models = [read_checkpoint(file)["model"] for file in files]
    for key, average in read_checkpoint(files[-1])["model_avg"].items():
        mean = torch.stack([model[key].double() for model in models]).mean(0)
        torch.testing.assert_close(average.double(), mean, rtol=1e-5, atol=1e-7)


def test_a_killed_run_continues_as_if_it_had_not_been(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    killed = subprocess.run([sys.executable, __file__, str(tmp_path), "15"], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "epoch-2.pt").exists()
    resumed = train_hums(tmp_path, num_epochs=3, save_every_n=6, start_batch=12)
    expected = {step: metrics for step, metrics in finished[1].items() if step > 12}
    assert resumed == expected


def test_continuing_after_an_epoch_is_exact(finished: tuple[Path, Metrics], tmp_path: Path) -> None:
    train_hums(tmp_path, num_epochs=1)
    resumed = train_hums(tmp_path, num_epochs=3, start_epoch=2)
    expected = {step: metrics for step, metrics in finished[1].items() if step > 8}
    assert resumed == expected


def with_nan(indexes: set[int]) -> Change:
    def change(index: int, batch: Batch) -> Batch:
        if index not in indexes:
            return batch
        features = batch.features.clone()
        features[1, 5, 5] = math.nan
        return replace(batch, features=features)

    return change


def test_a_batch_with_nan_is_skipped_named_and_counted(tmp_path: Path) -> None:
    train_hums(tmp_path, change=with_nan({3, 5}))
    checkpoint = read_checkpoint(tmp_path / "epoch-1.pt")
    assert checkpoint["skipped_batches"] == 2
    assert all(bool(value.isfinite().all()) for value in checkpoint["model"].values())
    assert "batch 4 skipped" in log_text(tmp_path)
    assert "hum-0-3-1" in log_text(tmp_path)


def test_only_bad_batches_are_an_error_that_names_utterances(tmp_path: Path) -> None:
    with pytest.raises(CalveError, match="10 batches in a row") as raised:
        train_hums(tmp_path, num_epochs=2, change=with_nan(set(range(8))))
    assert "hum-1-1-1" in str(raised.value.what)


def test_utterances_with_too_few_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    def change(index: int, batch: Batch) -> Batch:
        if index > 1:
            return batch
        lens = batch.feature_lens.clone()
        lens[2] = 12
        if index == 1:
            lens[:] = 12
        return replace(batch, feature_lens=lens)

    train_hums(tmp_path, change=change)
    checkpoint = read_checkpoint(tmp_path / "epoch-1.pt")
    assert checkpoint["dropped_utterances"] == 1 + 4
    assert checkpoint["skipped_batches"] == 1
    assert "hum-0-0-2" in log_text(tmp_path)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"encoder": {"dim_feedforward": 32}}, "dim_feedforward was 24, is 32"),
        ({"seed": 1}, "seed was 42, is 1"),
        ({"initial_lr": 0.01}, "initial_lr was 0.003, is 0.01"),
    ],
)
def test_a_run_of_another_configuration_is_not_continued(
    finished: tuple[Path, Metrics], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match="another configuration") as raised:
        train_hums(finished[0], start_batch=12, **options)
    assert named in raised.value.what


def test_a_folder_with_a_run_is_not_overwritten(finished: tuple[Path, Metrics]) -> None:
    with pytest.raises(ConfigError, match="already holds a training run") as raised:
        train_hums(finished[0])
    assert "--start-batch 24" in str(raised.value.fix)


def test_a_missing_checkpoint_to_continue_from_is_named(finished: tuple[Path, Metrics]) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to continue from") as raised:
        train_hums(finished[0], start_batch=13)
    assert str(raised.value.where).endswith("checkpoint-13.pt")


def test_ctrl_c_saves_a_checkpoint_after_the_running_batch(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(hum_run(tmp_path, on_metrics=interrupt, num_epochs=3))
    assert signal.getsignal(signal.SIGINT) is handler
    assert "continue with --start-batch 5" in log_text(tmp_path)
    resumed = train_hums(tmp_path, num_epochs=3, start_batch=5)
    assert resumed == {step: metrics for step, metrics in finished[1].items() if step > 5}


def test_only_the_newest_batch_checkpoints_are_kept(tmp_path: Path) -> None:
    train_hums(tmp_path, save_every_n=2, keep_last_k=2)
    kept = {path.name for path in tmp_path.glob("checkpoint-*.pt")}
    assert kept == {"checkpoint-6.pt", "checkpoint-8.pt"}


def test_an_impossible_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot train on 'abacus'"):
        train_hums(tmp_path, device="abacus")


def test_a_loss_backend_that_is_not_there_is_an_error_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(PluginError, match="no driver 'k3'"):
        train_hums(tmp_path / "exp", loss_backend="k3")
    assert not (tmp_path / "exp").exists()


def test_the_loss_backend_that_was_chosen_computes_the_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubled(TorchLossBackend):
        @staticmethod
        def rnnt_loss_smoothed(**arguments: Any) -> Any:
            loss, grads = TorchLossBackend.rnnt_loss_smoothed(**arguments)
            return 2 * loss, grads

    expected = train_hums(tmp_path / "torch")[1]["simple_loss"]
    monkeypatch.setattr("calve_transducer.trainer.load_driver", lambda namespace, name: Doubled)
    doubled = train_hums(tmp_path / "doubled", loss_backend="doubled")[1]["simple_loss"]
    assert doubled == pytest.approx(2 * expected)


def test_a_batch_of_empty_transcripts_is_trained_on(tmp_path: Path) -> None:
    def change(index: int, batch: Batch) -> Batch:
        return replace(batch, tokens=[[] for _ in batch.tokens])

    metrics = train_hums(tmp_path, change=change)
    assert metrics[BATCHES_PER_EPOCH]["simple_loss"] < 0.5 * metrics[1]["simple_loss"]
    assert read_checkpoint(tmp_path / "epoch-1.pt")["skipped_batches"] == 0


@pytest.mark.parametrize("option", ["num_epochs", "prune_range", "max_duration", "initial_lr"])
def test_impossible_options_are_errors(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        TrainingConfig(**{option: 0})


def train_until_killed(exp_dir: Path, step_to_die_at: int) -> None:
    def die(step: int, metrics: dict[str, float]) -> None:
        if step == step_to_die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(hum_run(exp_dir, on_metrics=die, num_epochs=3, save_every_n=6))


if __name__ == "__main__":
    train_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
