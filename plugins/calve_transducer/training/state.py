"""The state of a training run. It is saved and restored as a whole."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from calve.api import CheckpointError
from calve.protocols import BatchLoader
from calve.services import model_state, read_checkpoint, save_checkpoint
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.metrics import LossTotals
from calve_transducer.training.mixed_precision import MixedPrecision
from calve_transducer.training.optimizer import Eden, make_optimizer
from calve_transducer.training.processes import Processes

__all__ = ["TrainingNumbers", "TrainingState", "random_state_kept"]


_SEEDS_PER_PROCESS = 1_000_003


@dataclass
class TrainingNumbers:
    """Counters of the training progress, saved under icefall's names in every checkpoint.

    Attributes:
      batch_idx_train: Batches since the start of training.
      cur_epoch: The current epoch, or the one that has just ended, counted from 1.
      epoch_totals: Training losses since the start of the epoch.
    """

    batch_idx_train: int = 0
    cur_epoch: int = 0
    best_train_loss: float = math.inf
    best_valid_loss: float = math.inf
    best_train_epoch: int = -1
    best_valid_epoch: int = -1
    skipped_batches: int = 0
    dropped_utterances: int = 0
    epoch_totals: LossTotals = field(default_factory=LossTotals)

    def note_loss(self, kind: Literal["train", "valid"], loss: float) -> None:
        """Record the loss of the epoch that has just ended if it is the lowest so far."""
        if loss < getattr(self, f"best_{kind}_loss"):
            setattr(self, f"best_{kind}_loss", loss)
            setattr(self, f"best_{kind}_epoch", self.cur_epoch)

    def entries(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return asdict(self)

    @classmethod
    def from_entries(cls, entries: Mapping[str, Any]) -> TrainingNumbers:
        """Inverse of `entries`; other keys are ignored, missing ones take their defaults."""
        known = {key: entries[key] for key in cls.__dataclass_fields__ if key in entries}
        if "epoch_totals" in known:
            known["epoch_totals"] = LossTotals(**known["epoch_totals"])
        return cls(**known)


class TrainingState:
    """Model, running average, optimizer, schedule, position in the data, and numbers.

    Args:
      model: The model, on the training device.
      loader: The training data.
      config: Hyper-parameters.
      processes: The processes of the run; only their random generators differ.
    """

    def __init__(
        self, model: nn.Module, loader: BatchLoader, config: TrainingConfig, processes: Processes
    ) -> None:
        # On a CPU, convolutions are faster if the channels of a position are adjacent in memory.
        on_cpu = processes.device.type == "cpu"
        self.model = model
        if on_cpu:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loader = loader
        self.processes = processes
        self.precision = MixedPrecision(config, processes.device)
        # In float64, so that the average over a million batches keeps its precision.
        self.model_avg = copy.deepcopy(model).double()
        self.optimizer = make_optimizer(config.optimizer_type, model, config.initial_lr)
        self.scheduler = Eden(
            self.optimizer, config.lr_batches, config.lr_epochs, config.lr_warmup_batches
        )
        self.numbers = TrainingNumbers()
        self._seed = config.seed
        self._average_period = config.average_period

    def begin_epoch(self, epoch: int) -> None:
        """Set data order, random generators and schedule to the start of an epoch (from 1)."""
        self.numbers.cur_epoch = epoch
        self.numbers.epoch_totals = LossTotals()
        seed = self._seed + epoch + _SEEDS_PER_PROCESS * self.processes.rank
        random.seed(seed)
        torch.manual_seed(seed)
        self.loader.set_epoch(epoch - 1)
        self.scheduler.step_epoch(epoch - 1)

    def update_average(self) -> None:
        """Every ``average_period`` batches, add the model to the running average."""
        batches = self.numbers.batch_idx_train
        if batches % self._average_period:
            return
        share = self._average_period / batches
        current = self.model.state_dict()
        for key, average in self.model_avg.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[key].to(average.dtype), share)
            else:
                average.copy_(current[key])

    def save(self, path: Path, configuration: Mapping[str, Any]) -> None:
        """Write a checkpoint in icefall's format, with the states of the random generators.

        All processes must call it; the first one writes.
        """
        random_states = self.processes.gathered(_random_states())
        if not self.processes.is_first:
            return
        save_checkpoint(
            path,
            model=self.model,
            model_avg=self.model_avg,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            grad_scaler=self.precision.scaler if self.precision.scales else None,
            sampler=self.loader,
            params={**configuration, **self.numbers.entries(), "rng": random_states},
        )

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint that `save` wrote.

        Raises:
          CheckpointError: if it cannot be read, or belongs to another model.
        """
        content = read_checkpoint(path)
        missing = [
            key for key in ("model_avg", "optimizer", "scheduler", "rng") if key not in content
        ]
        if missing:
            raise CheckpointError(
                f"training cannot continue from this checkpoint: it has no {', '.join(missing)}",
                where=path,
            )
        try:
            self.model.load_state_dict(model_state(content, path))
            self.model_avg.load_state_dict(content["model_avg"])
            # A copy, because the tensors of the content are mapped from the file.
            self.optimizer.load_state_dict(copy.deepcopy(content["optimizer"]))
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"this checkpoint belongs to another model: {error}", where=path
            ) from error
        self.scheduler.load_state_dict(content["scheduler"])
        self.loader.load_state_dict(content["sampler"])
        if self.precision.scales and content.get("grad_scaler"):
            self.precision.scaler.load_state_dict(content["grad_scaler"])
        self.numbers = TrainingNumbers.from_entries(content)
        _set_random_states(content["rng"][self.processes.rank])


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the states of the random generators after the block."""
    states = _random_states()
    try:
        yield
    finally:
        _set_random_states(states)


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_states(states: Mapping[str, Any]) -> None:
    random.setstate(states["python"])
    torch.set_rng_state(_byte_tensor(states["torch"]))
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state_all([_byte_tensor(state) for state in states["cuda"]])


def _byte_tensor(state: Tensor) -> Tensor:
    return state.clone().to(torch.uint8)
