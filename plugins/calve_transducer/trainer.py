"""Trains a transducer: one process, any device, resumable after every checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType

import torch
from torch import nn

from calve.api import CalveError, ConfigError
from calve.discovery import load_driver
from calve.protocols import Batch, BatchLoader, LossBackend, TrainingRun
from calve_transducer.experiment import LOGGER, Experiment
from calve_transducer.training_config import TrainingConfig
from calve_transducer.training_metrics import LossTotals, Scalars, scalars
from calve_transducer.training_state import TrainingState
from calve_transducer.training_step import BadBatchError, alignable, backward, compute_loss

__all__ = ["train"]

_MOST_BAD_BATCHES_IN_A_ROW = 10


def train(run: TrainingRun) -> None:
    """Train, or continue training, until ``num_epochs`` epochs have ended.

    ``exp_dir`` receives ``epoch-N.pt`` after each epoch, ``checkpoint-N.pt`` after every
    ``save_every_n`` batches, ``best-train-loss.pt`` and ``best-valid-loss.pt``, ``config.json``,
    ``log/`` and ``tensorboard/``.

    Raises:
      PluginError: if the loss backend is unknown or not installed.
      ConfigError: if the folder holds another run, or one of another configuration.
      CheckpointError: if the checkpoint to continue from cannot be used.
      CalveError: if too many batches in a row have no finite loss.
      KeyboardInterrupt: on Ctrl-C, after the running batch and a checkpoint.
    """
    config: TrainingConfig = run.configuration["training"]
    losses = load_driver("calve.loss_backends", config.loss_backend)()
    experiment = Experiment(run)
    checkpoint = experiment.checkpoint_to_continue()
    if config.num_threads > 0:
        torch.set_num_threads(config.num_threads)
    state = TrainingState(run.model.to(_device(config.device)), run.train, config)
    if checkpoint is not None:
        state.restore(checkpoint)
    experiment.write_configuration()
    with ExitStack() as stack:
        stack.enter_context(experiment.logging())
        first_step = state.numbers.batch_idx_train + 1
        write = stack.enter_context(scalars(experiment.folder / "tensorboard", first_step))
        trainer = Trainer(run, experiment, state, losses, write)
        stop = stack.enter_context(_stop_on_interrupt())
        stack.callback(run.progress.finish)
        trainer.train_epochs(stop, continued=checkpoint)


class Trainer:
    """The loop over epochs and batches, and what it reports.

    Args:
      run: Data, folder, progress and events.
      experiment: The run's folder.
      state: What is trained; changed in place.
      losses: What computes the losses.
      write: Writes scalars for TensorBoard.
    """

    def __init__(
        self,
        run: TrainingRun,
        experiment: Experiment,
        state: TrainingState,
        losses: LossBackend,
        write: Scalars,
    ) -> None:
        self._run = run
        self._experiment = experiment
        self._state = state
        self._losses = losses
        self._write = write
        self._config: TrainingConfig = run.configuration["training"]
        self._bad_batches_in_a_row = 0
        self._batches_per_epoch: int | None = None

    def train_epochs(self, stop: threading.Event, continued: object) -> None:
        """All epochs that are left; the first may be the rest of one."""
        numbers = self._state.numbers
        LOGGER.info("configuration: %s", self._experiment.configuration)
        if continued is not None:
            LOGGER.info("continuing from %s", continued)
        mid_epoch = continued is not None and self._config.start_batch > 0
        for epoch in range(numbers.cur_epoch + (not mid_epoch), self._config.num_epochs + 1):
            if not mid_epoch:
                self._state.begin_epoch(epoch)
            mid_epoch = False
            self._train_one_epoch(stop)
            valid = validate(self._state.model, self._run.valid, self._config, self._losses)
            self._finish_epoch(valid)

    def _train_one_epoch(self, stop: threading.Event) -> None:
        numbers, config = self._state.numbers, self._config
        self._run.progress.start(f"epoch {numbers.cur_epoch}", self._batches_per_epoch)
        since_log = LossTotals()
        log_time = time.monotonic()
        batches = 0
        for batch in self._run.train:
            batches += 1
            numbers.batch_idx_train += 1
            metrics = self._train_on(batch, since_log)
            self._state.update_average()
            self._run.progress.advance(1, _note(metrics))
            step = numbers.batch_idx_train
            if step % config.log_interval == 0:
                seconds = (time.monotonic() - log_time) / config.log_interval
                self._report(step, {**metrics, **since_log.per_frame(), "seconds": seconds})
                since_log, log_time = LossTotals(), time.monotonic()
            if step % config.save_every_n == 0 or stop.is_set():
                self._save_batch_file()
            if stop.is_set():
                LOGGER.warning("stopped after batch %d; continue with --start-batch %d", step, step)
                raise KeyboardInterrupt
        self._batches_per_epoch = batches
        self._run.progress.finish()

    def _train_on(self, batch: Batch, since_log: LossTotals) -> Mapping[str, float]:
        """One step of the optimiser; a batch that cannot be trained on is named and skipped."""
        try:
            metrics, totals = self._step(batch)
        except BadBatchError as bad:
            self._skip(bad)
            return {}
        self._bad_batches_in_a_row = 0
        since_log.add(totals)
        self._state.numbers.epoch_totals.add(totals)
        return metrics

    def _step(self, batch: Batch) -> tuple[Mapping[str, float], LossTotals]:
        state, numbers = self._state, self._state.numbers
        model = state.model.train()
        usable = alignable(batch, model.encoder.geometry)  # type: ignore[arg-type, union-attr]
        if usable is None:
            numbers.dropped_utterances += len(batch.cut_ids)
            raise BadBatchError(f"every utterance is too short: {', '.join(batch.cut_ids)}")
        warmup = numbers.batch_idx_train / self._config.model_warm_step
        loss, totals = compute_loss(model, usable, self._config, warmup, self._losses)
        grad_norm = backward(loss, model, usable.cut_ids)
        state.scheduler.step_batch(numbers.batch_idx_train)
        state.optimizer.step()
        state.optimizer.zero_grad()
        dropped = sorted({*batch.cut_ids} - {*usable.cut_ids})
        if dropped:
            numbers.dropped_utterances += len(dropped)
            LOGGER.warning("left out, too few frames for their tokens: %s", ", ".join(dropped))
        learning_rate = state.optimizer.param_groups[0]["lr"]
        return {
            **totals.per_frame(),
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
        }, totals

    def _skip(self, bad: BadBatchError) -> None:
        numbers = self._state.numbers
        numbers.skipped_batches += 1
        self._bad_batches_in_a_row += 1
        LOGGER.warning("batch %d skipped: %s", numbers.batch_idx_train, bad)
        if self._bad_batches_in_a_row >= _MOST_BAD_BATCHES_IN_A_ROW:
            raise CalveError(
                f"{self._bad_batches_in_a_row} batches in a row cannot be trained on; "
                f"the last: {bad}",
                where=self._experiment.folder,
                fix="lower --initial-lr if training has diverged; otherwise check these utterances",
            )

    def _report(self, step: int, metrics: Mapping[str, float]) -> None:
        numbers = self._state.numbers
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        LOGGER.info("epoch %d, batch %d: %s", numbers.cur_epoch, step, shown)
        self._write(step, {f"train/{name}": value for name, value in metrics.items()})
        self._run.on_metrics(step, dict(metrics))

    def _save_batch_file(self) -> None:
        path = self._experiment.batch_file(self._state.numbers.batch_idx_train)
        self._state.save(path, self._experiment.checkpoint_entries())
        self._experiment.keep_newest_batch_files(self._config.keep_last_k)

    def _finish_epoch(self, valid: LossTotals) -> None:
        numbers = self._state.numbers
        losses = {
            "train": numbers.epoch_totals.per_frame()["loss"],
            "valid": valid.per_frame()["loss"],
        }
        best = []
        for name, loss in losses.items():
            if loss < getattr(numbers, f"best_{name}_loss"):
                setattr(numbers, f"best_{name}_loss", loss)
                setattr(numbers, f"best_{name}_epoch", numbers.cur_epoch)
                best.append(name)
        path = self._experiment.epoch_file(numbers.cur_epoch)
        self._state.save(path, self._experiment.checkpoint_entries())
        for name in best:
            self._experiment.copy_as(path, f"best-{name}-loss.pt")
        metrics = {f"valid_{name}": value for name, value in valid.per_frame().items()}
        metrics["epoch_loss"] = losses["train"]
        LOGGER.info(
            "epoch %d ended: %s; best validation loss %.4g in epoch %d; "
            "so far %d batches skipped, %d utterances left out",
            numbers.cur_epoch,
            ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()),
            numbers.best_valid_loss,
            numbers.best_valid_epoch,
            numbers.skipped_batches,
            numbers.dropped_utterances,
        )
        self._write(numbers.batch_idx_train, {f"epoch/{k}": v for k, v in metrics.items()})
        self._run.on_metrics(numbers.batch_idx_train, metrics)


@torch.no_grad()
def validate(
    model: nn.Module, loader: BatchLoader, config: TrainingConfig, losses: LossBackend
) -> LossTotals:
    """Losses over a whole loader, with the pruned loss in full, whatever the warm-up.

    Raises:
      CalveError: if no utterance can be aligned.
    """
    model.eval()
    loader.set_epoch(0)
    totals = LossTotals()
    for batch in loader:
        usable = alignable(batch, model.encoder.geometry)  # type: ignore[arg-type, union-attr]
        if usable is None:
            continue
        try:
            _, found = compute_loss(model, usable, config, 2.0, losses)
        except BadBatchError as bad:
            LOGGER.warning("left out of validation: %s", bad)
            continue
        totals.add(found)
    if not totals.utterances:
        raise CalveError("no utterance of the validation data can be aligned")
    return totals


def _note(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return "skipped"
    return f"loss {metrics['loss']:.3f}  lr {metrics['learning_rate']:.2e}"


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"cannot train on {name!r}: {error}", where="--device") from error
    return device


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Inside the block, a first Ctrl-C sets the event; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
