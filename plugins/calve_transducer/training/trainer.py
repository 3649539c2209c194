"""Training of a transducer on any device, in any number of processes, resumable at any time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch

from calve.api import CalveError, ConfigError
from calve.common.torch_threads import torch_threads
from calve.protocols import Batch, LossBackend, TrainingRun
from calve.services import load_driver, own_shard
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.experiment import LOGGER, Experiment, announce
from calve_transducer.training.interruption import stop_request
from calve_transducer.training.memory_scan import check_memory
from calve_transducer.training.metrics import LossTotals, Scalars
from calve_transducer.training.processes import Processes, joined
from calve_transducer.training.state import TrainingState
from calve_transducer.training.step import BadBatchError, ForwardPass, TrainingStep
from calve_transducer.training.validation import validate

__all__ = ["train"]

_MOST_BAD_BATCHES_IN_A_ROW = 10


def train(run: TrainingRun) -> None:
    """Train, or continue training, until ``num_epochs`` epochs have ended.

    ``exp_dir`` receives ``epoch-N.pt`` after each epoch, ``checkpoint-N.pt`` after every
    ``save_every_n`` batches, ``best-train-loss.pt`` and ``best-valid-loss.pt``, ``config.json``,
    ``log/``, ``tensorboard/``, and ``bad-batches/`` if there are any. If torchrun started this
    process, it trains together with the others, and the first one writes the files.

    Raises:
      PluginError: if the loss backend is unknown or not installed.
      ConfigError: if the folder holds another run or a run with another configuration, if another
        process trains in it, or if the encoder cannot be trained with its options.
      CheckpointError: if the checkpoint to continue from cannot be used.
      CalveError: if too many batches in a row cannot be trained on, if the device has not enough
        memory, or if a file cannot be written.
      KeyboardInterrupt: on Ctrl-C or SIGTERM, after the running batch and a checkpoint.
    """
    config: TrainingConfig = run.configuration["training"]
    losses = load_driver("calve.loss_backends", config.loss_backend)()
    run.model.train()  # an encoder may reject it; nothing has been written yet
    with ExitStack() as stack:
        stack.enter_context(torch_threads(config.num_threads or None))
        processes = stack.enter_context(joined(own_shard(), _device(config.device)))
        stack.enter_context(_randomness_restored(processes.device))
        experiment = Experiment(run)
        checkpoint = processes.from_first(experiment.checkpoint_to_continue)
        processes.from_first(lambda: stack.enter_context(experiment.locked()))
        state = TrainingState(run.model.to(processes.device), run.train, config, processes)
        if checkpoint is not None:
            state.restore(checkpoint)
        processes.from_first(experiment.write_configuration)
        stack.enter_context(experiment.logging(processes))
        scalars = None
        if processes.is_first:
            first_step = state.numbers.batch_idx_train + 1
            scalars = stack.enter_context(
                closing(Scalars(experiment.folder / "tensorboard", first_step))
            )
        trainer = Trainer(run, experiment, state, losses, scalars)
        stop = stack.enter_context(stop_request())
        trainer.train_epochs(stop, checkpoint)


@contextmanager
def _randomness_restored(device: torch.device) -> Iterator[None]:
    """Restore the global random states of Python and torch after the block."""
    python_state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python_state)


class Trainer:
    """The loop over epochs and batches, and its reports.

    Args:
      run: Data, folder, progress and events.
      experiment: The run's folder.
      state: The state, which is changed in place.
      losses: The loss backend.
      scalars: Writer for TensorBoard; None in all processes except the first.
    """

    def __init__(
        self,
        run: TrainingRun,
        experiment: Experiment,
        state: TrainingState,
        losses: LossBackend,
        scalars: Scalars | None,
    ) -> None:
        self._run = run
        self._experiment = experiment
        self._state = state
        self._losses = losses
        self._scalars = scalars
        self._config: TrainingConfig = run.configuration["training"]
        self._processes: Processes = state.processes
        self._step = TrainingStep(state, self._config, losses)
        self._bad_batches_in_a_row = 0
        self._batches_per_epoch: int | None = None

    def train_epochs(self, stop: threading.Event, continued: Path | None) -> None:
        """Train all remaining epochs; the first may be a part of one."""
        numbers = self._state.numbers
        LOGGER.info("configuration: %s", self._experiment.configuration)
        if self._config.use_fp16 and self._processes.device.type == "cpu":
            LOGGER.warning("float16 is for GPUs and many times slower on a CPU; see --use-bf16")
        mid_epoch = False
        if continued is None:
            check_memory(self._state, self._run.train, self._config, self._losses)
        else:
            LOGGER.info("continuing from %s", continued)
            mid_epoch = continued.name.startswith("checkpoint-")
            if not mid_epoch:
                self._copy_if_best(continued)
        epochs = range(numbers.cur_epoch + (not mid_epoch), self._config.num_epochs + 1)
        if not epochs:
            self._announce(
                "nothing is left to train: epoch %d has ended, and --num-epochs is %d",
                numbers.cur_epoch,
                self._config.num_epochs,
            )
        try:
            for epoch in epochs:
                if not mid_epoch:
                    self._state.begin_epoch(epoch)
                batches = self._train_one_epoch(stop)
                if not batches and not mid_epoch:
                    raise CalveError(
                        "there is no utterance to train on",
                        fix="see what was prepared, and --shortest-utterance, --longest-utterance",
                    )
                self._batches_per_epoch = None if mid_epoch else batches
                mid_epoch = False
                self._finish_epoch(self._validate())
        except BaseException:
            self._run.progress.abandon()
            raise

    def _train_one_epoch(self, stop: threading.Event) -> int:
        """Train the rest of the epoch; return its number of batches."""
        numbers, config = self._state.numbers, self._config
        self._run.progress.start(f"epoch {numbers.cur_epoch}", self._batches_per_epoch)
        since_log, log_time = LossTotals(), time.monotonic()
        batches = 0
        own_batches = iter(self._run.train)
        while True:
            batch = next(own_batches, None)
            forward = self._step.forward(batch, stopping=stop.is_set())
            if batch is None or forward.ended:
                break
            batches += 1
            numbers.batch_idx_train += 1
            metrics = self._train_on(batch, forward, since_log)
            self._state.update_average()
            elapsed = time.monotonic() - log_time
            self._run.progress.advance(1, _note(metrics, since_log.utterances / elapsed))
            step = numbers.batch_idx_train
            if step % config.log_interval == 0:
                speed = {
                    "seconds": elapsed / config.log_interval,
                    "utterances_per_second": since_log.utterances / elapsed,
                }
                self._report({**metrics, **since_log.per_frame(), **speed})
                since_log, log_time = LossTotals(), time.monotonic()
            if step % config.valid_interval == 0:
                self._report_validation(_valid_losses(self._validate()))
            # The processes stop together, one step after the request reached the first.
            stopping = forward.stopping or (self._processes.world_size == 1 and stop.is_set())
            if step % config.save_every_n == 0 or stopping:
                self._save_batch_file()
            if stopping:
                if self._processes.is_first:
                    LOGGER.warning(
                        "stopped after batch %d; continue with --start-batch %d", step, step
                    )
                raise KeyboardInterrupt
        self._run.progress.finish()
        return batches

    def _validate(self) -> LossTotals:
        return validate(self._state, self._run.valid, self._config, self._losses)

    def _train_on(
        self, batch: Batch, forward: ForwardPass, since_log: LossTotals
    ) -> Mapping[str, float]:
        """Take one step of the optimizer; save and skip a batch that cannot be trained on."""
        try:
            result = self._step.finish(forward)
        except BadBatchError as bad:
            self._skip(batch, bad, forward.num_dropped)
            return {}
        self._bad_batches_in_a_row = 0
        since_log.add(result.totals)
        self._state.numbers.epoch_totals.add(result.totals)
        self._state.numbers.dropped_utterances += result.num_dropped
        if result.dropped:
            names = ", ".join(result.dropped)
            LOGGER.warning("left out, too few frames for their tokens: %s", names)
        return result.metrics()

    def _skip(self, batch: Batch, bad: BadBatchError, num_dropped: int) -> None:
        numbers = self._state.numbers
        numbers.skipped_batches += 1
        if bad.too_short:
            numbers.dropped_utterances += num_dropped
        self._bad_batches_in_a_row += 1
        LOGGER.warning("batch %d skipped: %s", numbers.batch_idx_train, bad)
        if bad.is_own:
            name = f"batch-{numbers.batch_idx_train}-{self._processes.rank}"
            kept = self._experiment.keep_bad_batch(batch, name, str(bad))
            if kept is not None:
                LOGGER.warning("kept for inspection: %s", kept)
        if self._bad_batches_in_a_row >= _MOST_BAD_BATCHES_IN_A_ROW:
            raise CalveError(
                f"{self._bad_batches_in_a_row} batches in a row cannot be trained on; "
                f"the last: {bad}",
                where=self._experiment.folder,
                fix="lower --initial-lr if training has diverged; otherwise look at bad-batches/",
            )

    def _report(self, metrics: Mapping[str, float]) -> None:
        self._log(metrics)
        self._publish("train", metrics)

    def _report_validation(self, metrics: Mapping[str, float]) -> None:
        self._log(metrics)
        self._publish("epoch", metrics)

    def _log(self, metrics: Mapping[str, float]) -> None:
        numbers = self._state.numbers
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        LOGGER.info("epoch %d, batch %d: %s", numbers.cur_epoch, numbers.batch_idx_train, shown)

    def _announce(self, message: str, *arguments: object) -> None:
        """Log a line; only the first process shows it."""
        (announce if self._processes.is_first else LOGGER.info)(message, *arguments)

    def _publish(self, group: str, metrics: Mapping[str, float]) -> None:
        """Send metrics to TensorBoard and to plugins; only the first process does."""
        if self._scalars is None:
            return
        step = self._state.numbers.batch_idx_train
        self._scalars.write(step, {f"{group}/{name}": value for name, value in metrics.items()})
        self._run.on_metrics(step, dict(metrics))

    def _save_batch_file(self) -> None:
        self._save(self._experiment.batch_file(self._state.numbers.batch_idx_train))
        if self._processes.is_first:
            self._experiment.keep_newest_batch_files(self._config.keep_last_k)

    def _save(self, path: Path) -> None:
        self._state.save(path, self._experiment.checkpoint_entries())

    def _finish_epoch(self, valid: LossTotals) -> None:
        numbers = self._state.numbers
        train_loss = numbers.epoch_totals.per_frame().get("loss")
        valid_loss = valid.per_frame()["loss"]
        if train_loss is not None:
            numbers.note_loss("train", train_loss)
        numbers.note_loss("valid", valid_loss)
        # Before the checkpoint is saved: a run that is killed in between reports it once more. In
        # the other order, a run that continues from the checkpoint would never report it.
        epoch_loss = {} if train_loss is None else {"epoch_loss": train_loss}
        self._report_validation({**_valid_losses(valid), **epoch_loss})
        self._announce(
            "epoch %d ended: %s, validation loss %.4g, the best %.4g in epoch %d; "
            "so far %d batches skipped, %d utterances left out",
            numbers.cur_epoch,
            "no batch was trained on" if train_loss is None else f"training loss {train_loss:.4g}",
            valid_loss,
            numbers.best_valid_loss,
            numbers.best_valid_epoch,
            numbers.skipped_batches,
            numbers.dropped_utterances,
        )
        path = self._experiment.epoch_file(numbers.cur_epoch)
        self._save(path)
        self._copy_if_best(path)

    def _copy_if_best(self, epoch_file: Path) -> None:
        """Copy the file of the epoch that has just ended to ``best-*.pt``.

        This is repeated when training continues, because the process may have been killed in
        between.
        """
        if not self._processes.is_first:
            return
        numbers = self._state.numbers
        for name in ("train", "valid"):
            if getattr(numbers, f"best_{name}_epoch") == numbers.cur_epoch:
                self._experiment.copy_as(epoch_file, f"best-{name}-loss.pt")


def _valid_losses(totals: LossTotals) -> dict[str, float]:
    return {f"valid_{name}": value for name, value in totals.per_frame().items()}


def _note(metrics: Mapping[str, float], utterances_per_second: float) -> str:
    if not metrics:
        return "skipped"
    return (
        f"loss {metrics['loss']:.3f} (simple {metrics['simple_loss']:.3f}, "
        f"pruned {metrics['pruned_loss']:.3f})  lr {metrics['learning_rate']:.2e}  "
        f"{utterances_per_second:.1f} utt/s"
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"cannot train on {name!r}: {error}", where="--device") from error
    return device
