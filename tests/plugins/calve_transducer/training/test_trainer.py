"""The trainer on a made-up corpus: every symbol is a hum in a band of its own."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hum_training
import pytest
import torch
from hum_training import (
    BATCHES_PER_EPOCH,
    RECIPE,
    Hums,
    Metrics,
    hum_run,
    read_metrics,
    train_hums,
    with_nan,
)

from calve.api import CalveError, CheckpointError, ConfigError, PluginError
from calve.common.locking import locked
from calve.common.termination import Terminated
from calve.models.checkpoints import CheckpointChoice, load_state_dict, read_checkpoint
from calve.models.loading import load_model
from calve.protocols import Batch
from calve.protocols.training import TrainingData
from calve_transducer.losses.backend import TorchLossBackend
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.curves import read_panels
from calve_transducer.training.processes import Processes
from calve_transducer.training.state import TrainingState
from calve_transducer.training.trainer import train

KILLED_TRAINING = Path(hum_training.__file__).with_name("killed_training.py")


def set_times_backwards(exp_dir: Path) -> None:
    """Give the checkpoints modification times in the reverse of the order of training."""
    order = ["checkpoint-6.pt", "epoch-1.pt", "checkpoint-12.pt", "epoch-2.pt"]
    order += ["checkpoint-18.pt", "checkpoint-24.pt", "epoch-3.pt"]
    for age, name in enumerate(order):
        if (exp_dir / name).exists():
            os.utime(exp_dir / name, (10**9 - age, 10**9 - age))


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
        *(".lock", "best-train-loss.pt", "best-valid-loss.pt"),
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


@pytest.mark.slow
def test_a_run_killed_at_any_moment_continues_as_if_it_had_not_been(tmp_path: Path) -> None:
    command = [sys.executable, str(KILLED_TRAINING), str(tmp_path), "20", "0.6", "1"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert killed.returncode == 0, killed.stderr
    counts = json.loads(killed.stdout)
    assert sum(counts) == 20
    expected = train_hums(tmp_path / "never-killed", num_epochs=12)
    for number in range(len(counts)):
        exp_dir = tmp_path / f"exp-{number}"
        for step, metrics in read_metrics(exp_dir):
            assert metrics.items() <= expected[step].items(), f"exp-{number}, batch {step}"
        assert {step for step, _ in read_metrics(exp_dir)} == set(expected)
        simple_loss = read_panels(exp_dir)[0].curves[0].points
        assert [step for step, _ in simple_loss] == sorted(expected)
        for name in ("epoch-12.pt", "best-valid-loss.pt", "best-train-loss.pt"):
            actual, other = (
                read_checkpoint(folder / name) for folder in (exp_dir, tmp_path / "never-killed")
            )
            for entry in ("model", "model_avg"):
                assert all(
                    torch.equal(actual[entry][key], other[entry][key]) for key in other[entry]
                )


@pytest.mark.parametrize("moment", ["before", "after"])
def test_no_validation_is_lost_when_a_run_is_killed_at_the_checkpoint_of_an_epoch(
    finished: tuple[Path, Metrics], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    save = TrainingState.save

    class Killed(BaseException):
        pass

    def kill(self: TrainingState, path: Path, entries: dict[str, Any]) -> None:
        if path.name != "epoch-2.pt" or moment == "after":
            save(self, path, entries)
        if path.name == "epoch-2.pt":
            raise Killed

    monkeypatch.setattr(TrainingState, "save", kill)
    with pytest.raises(Killed):
        train_hums(tmp_path, num_epochs=3, save_every_n=6)
    monkeypatch.undo()
    assert (tmp_path / "epoch-2.pt").exists() == (moment == "after")
    train_hums(tmp_path, num_epochs=3, save_every_n=6, resume=True)
    assert read_panels(tmp_path)[0].curves == read_panels(finished[0])[0].curves
    assert "epoch 2 ended: training loss" in log_text(tmp_path)


def test_a_run_continues_after_any_batch_as_if_it_had_not_stopped(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "exp")
    resumed = train_hums(tmp_path / "exp", num_epochs=3, save_every_n=6, start_batch=12)
    assert resumed == {step: metrics for step, metrics in finished[1].items() if step > 12}


def test_resume_takes_the_newest_checkpoint_or_starts_anew(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    first = train_hums(tmp_path, num_epochs=1, save_every_n=6, resume=True)
    second = train_hums(tmp_path, num_epochs=3, save_every_n=6, resume=True)
    assert (max(first), min(second)) == (BATCHES_PER_EPOCH, BATCHES_PER_EPOCH + 1)
    assert {**first, **second} == finished[1]
    assert train_hums(tmp_path, num_epochs=3, save_every_n=6, resume=True) == {}
    assert "nothing is left to train: epoch 3 has ended" in log_text(tmp_path)


def test_resume_goes_by_the_counters_of_a_checkpoint_not_by_its_time(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "exp")
    set_times_backwards(tmp_path / "exp")
    assert train_hums(tmp_path / "exp", num_epochs=3, save_every_n=6, resume=True) == {}


def test_resume_finds_the_newest_of_epochs_and_batches(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "exp")
    for name in ("epoch-3.pt", "checkpoint-24.pt"):
        (tmp_path / "exp" / name).unlink()
    set_times_backwards(tmp_path / "exp")
    resumed = train_hums(tmp_path / "exp", num_epochs=3, save_every_n=6, resume=True)
    assert min(resumed) == 19
    assert resumed == {step: metrics for step, metrics in finished[1].items() if step > 18}


def test_who_looks_on_sees_how_each_epoch_ended_and_what_was_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_hums(tmp_path, num_epochs=2, change=with_nan({3}))
    shown = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == [
        *("batch 4 skipped", "kept for inspection", "epoch 1 ended"),
        *("batch 12 skipped", "kept for inspection", "epoch 2 ended"),
    ]
    assert "validation loss" in shown[-1]


def test_continuing_after_an_epoch_is_exact(finished: tuple[Path, Metrics], tmp_path: Path) -> None:
    train_hums(tmp_path, num_epochs=1)
    resumed = train_hums(tmp_path, num_epochs=3, start_epoch=2)
    expected = {step: metrics for step, metrics in finished[1].items() if step > 8}
    assert resumed == expected


def test_a_batch_with_nan_is_skipped_named_and_counted(tmp_path: Path) -> None:
    train_hums(tmp_path, change=with_nan({3, 5}))
    checkpoint = read_checkpoint(tmp_path / "epoch-1.pt")
    assert checkpoint["skipped_batches"] == 2
    assert all(bool(value.isfinite().all()) for value in checkpoint["model"].values())
    assert "batch 4 skipped" in log_text(tmp_path)
    assert "hum-0-3-1" in log_text(tmp_path)


def test_an_epoch_of_skipped_batches_is_never_the_best(tmp_path: Path) -> None:
    def change(index: int, batch: Batch) -> Batch:
        in_epoch_2 = batch.cut_ids[0].startswith("hum-1-")
        return with_nan({index} if in_epoch_2 else set())(index, batch)

    metrics = train_hums(tmp_path, num_epochs=3, change=change)
    last = read_checkpoint(tmp_path / "epoch-3.pt")
    assert last["skipped_batches"] == BATCHES_PER_EPOCH
    assert last["best_train_epoch"] == 3
    assert last["best_train_loss"] > 0
    assert "epoch 2 ended: no batch was trained on" in log_text(tmp_path)
    assert "loss" not in metrics[BATCHES_PER_EPOCH + 1]
    assert "epoch_loss" not in metrics[2 * BATCHES_PER_EPOCH]
    assert all(math.isfinite(value) for found in metrics.values() for value in found.values())


def test_a_bad_batch_is_kept_for_inspection(tmp_path: Path) -> None:
    train_hums(tmp_path, change=with_nan({3}))
    (kept,) = (tmp_path / "bad-batches").iterdir()
    assert kept.name == "batch-4-0.pt"
    batch = torch.load(kept, weights_only=True)
    assert batch["cut_ids"] == [f"hum-0-3-{row}" for row in range(4)]
    assert batch["features"][1, 5, 5].isnan()
    assert batch["reason"] == "the loss is not finite for hum-0-3-1"


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
        ({"max_duration": 30.0}, "max_duration was 200.0, is 30.0"),
        ({"world_size": 2}, "world_size was 1, is 2"),
        ({"data": TrainingData("sighs", Path("here"))}, "corpus was 'hums', is 'sighs'"),
    ],
)
def test_a_run_of_another_configuration_is_not_continued(
    finished: tuple[Path, Metrics], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match="another configuration") as raised:
        train_hums(finished[0], start_batch=12, **options)
    assert named in raised.value.what


def test_a_run_continues_where_its_data_have_moved_to(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "exp")
    moved = TrainingData("hums", Path("elsewhere"))
    options = {"num_epochs": 3, "save_every_n": 6, "start_batch": 18, "data": moved}
    assert min(train_hums(tmp_path / "exp", **options)) == 19
    saved = json.loads((tmp_path / "exp" / "config.json").read_text())
    assert saved["data"] == {"corpus": "hums", "data_dir": "elsewhere"}


def test_a_folder_with_a_run_is_not_overwritten(finished: tuple[Path, Metrics]) -> None:
    with pytest.raises(ConfigError, match="already holds a training run") as raised:
        train_hums(finished[0])
    assert "--start-batch 24" in str(raised.value.fix)


def test_a_folder_where_another_process_trains_is_left_alone(
    finished: tuple[Path, Metrics],
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished[0].iterdir()}
    with (
        locked(finished[0], doing="training in", option="--exp-dir"),
        pytest.raises(ConfigError, match="another process is training"),
    ):
        train_hums(finished[0], start_batch=12, num_epochs=3)
    assert {path: path.stat().st_mtime_ns for path in finished[0].iterdir()} == before


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def save_until_full(content: dict[str, Any], file: Any) -> None:
        save(content, file)
        if content["batch_idx_train"] == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", save_until_full)
    with pytest.raises(CalveError, match="No space left on device"):
        train_hums(tmp_path, save_every_n=2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.glob("*.pt")] == ["checkpoint-2.pt"]
    assert not [path.name for path in tmp_path.glob(".*.pt")]
    assert min(train_hums(tmp_path, save_every_n=2, resume=True)) == 3


def test_a_disk_that_is_full_before_a_checkpoint_ends_the_run_with_one_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fill(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    unlimited = before[1]
    try:
        with pytest.raises(CalveError, match="cannot write the log: File too large") as raised:
            train(hum_run(tmp_path, on_metrics=fill, save_every_n=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "--resume 1" in str(raised.value.fix)
    assert capfd.readouterr().err == ""
    assert [path.name for path in tmp_path.glob("*.pt")] == ["checkpoint-2.pt"]
    assert min(train_hums(tmp_path, save_every_n=2, resume=True)) == 3


def test_a_model_alone_cannot_be_continued_from(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copy(finished[0] / "config.json", tmp_path)
    model = read_checkpoint(finished[0] / "epoch-1.pt")["model"]
    torch.save({"model": model}, tmp_path / "epoch-1.pt")
    with pytest.raises(CheckpointError, match="it has no model_avg, optimizer, scheduler, rng"):
        train_hums(tmp_path, num_epochs=3, save_every_n=6, start_epoch=2)


def test_an_option_that_is_newer_than_the_run_has_been_its_default(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "exp")
    path = tmp_path / "exp" / "config.json"
    saved = json.loads(path.read_text())
    del saved["training"]["lr_warmup_batches"], saved["data"]
    path.write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match="lr_warmup_batches was 0, is 7"):
        train_hums(tmp_path / "exp", num_epochs=3, start_batch=24, lr_warmup_batches=7)
    assert train_hums(tmp_path / "exp", num_epochs=3, start_batch=24) != {}


def test_scaled_adam_learns_and_continues_exactly(tmp_path: Path) -> None:
    options = {"optimizer_type": "scaled_adam", "initial_lr": 0.045, "lr_warmup_batches": 6}
    metrics = train_hums(tmp_path, num_epochs=3, save_every_n=20, **options)
    rates = [metrics[step]["learning_rate"] for step in range(1, 7)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.045 * (0.5 + 0.5 / 6), rel=1e-3)
    valid = [metrics[step]["valid_simple_loss"] for step in (8, 16, 24)]
    assert valid == sorted(valid, reverse=True)
    assert valid[-1] < 0.5 * metrics[1]["simple_loss"]
    resumed = train_hums(tmp_path, num_epochs=3, save_every_n=20, start_batch=20, **options)
    assert resumed == {step: found for step, found in metrics.items() if step > 20}


def test_validating_more_often_changes_nothing_else(
    finished: tuple[Path, Metrics], tmp_path: Path
) -> None:
    often = train_hums(tmp_path, num_epochs=3, save_every_n=6, valid_interval=3)
    validated = [step for step in often if "valid_loss" in often[step]]
    ends = [BATCHES_PER_EPOCH * epoch for epoch in (1, 2, 3)]
    assert validated == sorted({*range(3, 3 * BATCHES_PER_EPOCH + 1, 3), *ends})
    for step, metrics in finished[1].items():
        assert metrics.items() <= often[step].items()


def test_an_epoch_of_nothing_is_an_error_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    class Nothing(Hums):
        def __iter__(self) -> Iterator[Batch]:
            return iter(())

    with pytest.raises(CalveError, match="no utterance to train on"):
        train(replace(hum_run(tmp_path), train=Nothing()))
    assert not list(tmp_path.glob("*.pt"))


def test_adamw_learns_too(tmp_path: Path) -> None:
    metrics = train_hums(tmp_path, num_epochs=3, optimizer_type="adamw", initial_lr=0.01)
    assert metrics[3 * BATCHES_PER_EPOCH]["valid_loss"] < 0.8 * metrics[1]["loss"]
    groups = read_checkpoint(tmp_path / "epoch-1.pt")["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


def test_a_missing_checkpoint_to_continue_from_is_named(finished: tuple[Path, Metrics]) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to continue from") as raised:
        train_hums(finished[0], start_batch=13)
    assert str(raised.value.where).endswith("checkpoint-13.pt")
    assert "checkpoint-12.pt" in str(raised.value.fix)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_saves_a_checkpoint_after_the_running_batch(
    finished: tuple[Path, Metrics], tmp_path: Path, number: signal.Signals
) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 5:
            signal.raise_signal(number)

    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as raised:
        train(hum_run(tmp_path, on_metrics=interrupt, num_epochs=3))
    assert isinstance(raised.value, Terminated) == (number == signal.SIGTERM)
    assert signal.getsignal(number) is handler
    assert "continue with --start-batch 5" in log_text(tmp_path)
    resumed = train_hums(tmp_path, num_epochs=3, start_batch=5)
    assert resumed == {step: metrics for step, metrics in finished[1].items() if step > 5}


def test_processes_exchange_numbers_once_in_a_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exchanges = []
    own = Processes.sums
    monkeypatch.setattr(Processes, "sums", lambda *args: exchanges.append(args) or own(*args))
    train_hums(tmp_path)
    at_the_end_of_the_epoch, in_validation = 1, 1
    assert len(exchanges) == BATCHES_PER_EPOCH + at_the_end_of_the_epoch + in_validation


def test_only_the_newest_batch_checkpoints_are_kept(tmp_path: Path) -> None:
    train_hums(tmp_path, save_every_n=2, keep_last_k=2)
    kept = {path.name for path in tmp_path.glob("checkpoint-*.pt")}
    assert kept == {"checkpoint-6.pt", "checkpoint-8.pt"}


def test_half_precision_that_a_cpu_lacks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nothing(self: Hums) -> Iterator[Batch]:
        return iter(())

    monkeypatch.setattr(Hums, "__iter__", nothing)
    with pytest.raises(CalveError, match="no utterance to train on"):
        train_hums(tmp_path, device="cpu", use_fp16=True)
    assert "float16 is for GPUs" in capfd.readouterr().err


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
    monkeypatch.setattr(
        "calve_transducer.training.trainer.load_driver", lambda namespace, name: Doubled
    )
    doubled = train_hums(tmp_path / "doubled", loss_backend="doubled")[1]["simple_loss"]
    assert doubled == pytest.approx(2 * expected)


def test_a_batch_of_empty_transcripts_is_trained_on(tmp_path: Path) -> None:
    def change(index: int, batch: Batch) -> Batch:
        return replace(batch, tokens=[[] for _ in batch.tokens])

    metrics = train_hums(tmp_path, change=change)
    assert metrics[BATCHES_PER_EPOCH]["simple_loss"] < 0.5 * metrics[1]["simple_loss"]
    assert read_checkpoint(tmp_path / "epoch-1.pt")["skipped_batches"] == 0


@pytest.mark.parametrize("option", ["num_epochs", "prune_range", "world_size", "initial_lr"])
def test_impossible_options_are_errors(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        TrainingConfig(**{option: 0})


@pytest.mark.parametrize("option", ["start_batch", "num_threads", "delay_penalty", "lm_scale"])
def test_options_below_zero_are_errors(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        TrainingConfig(**{option: -1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lm_scale": 0.6, "am_scale": 0.6}, "together they are 1 at most"),
        ({"use_fp16": True, "use_bf16": True}, "exclude one another"),
        ({"resume": True, "start_batch": 12}, "finds the checkpoint itself"),
        ({"resume": True, "start_epoch": 2}, "finds the checkpoint itself"),
    ],
)
def test_options_that_contradict_one_another_are_errors(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(**options)
