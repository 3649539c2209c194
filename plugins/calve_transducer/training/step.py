"""One training step: the loss of a batch and the step of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from calve.api import StreamingGeometry
from calve.protocols import Batch, LossBackend
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.metrics import LossTotals
from calve_transducer.training.mixed_precision import autocast
from calve_transducer.training.state import TrainingState, random_state_kept

__all__ = [
    "BadBatchError",
    "ForwardPass",
    "TrainingStep",
    "TrainingStepResult",
    "alignable",
    "compute_loss",
    "pruned_loss_scale",
]


_FRAMES_OF_SILENCE = 8
"""Encoder frames, about."""
_SILENT = math.log(1e-10)


class BadBatchError(Exception):
    """Error of a batch that cannot be trained on, with the reason.

    Args:
      reason: The reason in words.
      too_short: Whether the utterances are too short; otherwise a loss or gradient is not finite.
      is_own: Whether it is the batch of this process, not of another process of the run.
    """

    def __init__(self, reason: str, *, too_short: bool = False, is_own: bool = True) -> None:
        super().__init__(reason)
        self.too_short = too_short
        self.is_own = is_own


@dataclass(frozen=True)
class TrainingStepResult:
    """The result of one step, over all processes.

    Attributes:
      totals: The losses of the batch.
      grad_norm: Norm of the gradient; not finite if float16's scale was too large.
      learning_rate: Learning rate of the first group of parameters.
      grad_scale: Gradient scale of float16; None in other precisions.
      dropped: Names of utterances of this process that were left out.
      num_dropped: How many utterances of all processes were left out.
    """

    totals: LossTotals
    grad_norm: float
    learning_rate: float
    grad_scale: float | None
    dropped: Sequence[str]
    num_dropped: int

    def metrics(self) -> dict[str, float]:
        """The numbers by name."""
        scale = {} if self.grad_scale is None else {"grad_scale": self.grad_scale}
        rates = {"learning_rate": self.learning_rate, "grad_norm": self.grad_norm}
        return {**self.totals.per_frame(), **rates, **scale}


@dataclass(frozen=True)
class ForwardPass:
    """The losses of the next batch, and the common decision of all processes about it.

    Attributes:
      ended: Whether a process has no batch left, which ends the epoch for all.
      stopping: Whether a process was asked to stop.
      failure: The reason why a process cannot train on its batch; None if all can.
      names: Utterances of this process in the batch that are used.
      dropped: Utterances of this process that were left out.
      num_dropped: How many utterances of all processes were left out.
      totals: The losses of all processes.
      loss: The loss of this process, with its graph; None if there is none.
    """

    ended: bool
    stopping: bool
    failure: BadBatchError | None
    names: Sequence[str]
    dropped: Sequence[str]
    num_dropped: int
    totals: LossTotals
    loss: Tensor | None


@dataclass
class _OwnPass:
    """The forward pass of this process only."""

    names: Sequence[str] = ()
    dropped: Sequence[str] = ()
    totals: LossTotals = field(default_factory=LossTotals)
    loss: Tensor | None = None
    failure: BadBatchError | None = None


class TrainingStep:
    """Takes steps of the optimizer: `forward`, then `finish`.

    The processes exchange numbers once in a step, after the forward pass; gradients are shared
    during the backward pass.

    Args:
      state: The state, which is changed in place.
      config: Hyper-parameters.
      losses: The loss backend.
    """

    def __init__(self, state: TrainingState, config: TrainingConfig, losses: LossBackend) -> None:
        self._state = state
        self._config = config
        self._losses = losses
        self._sharing = state.processes.sharing_gradients(
            state.model, some_unused=config.find_unused_parameters
        )

    def forward(self, batch: Batch | None, *, stopping: bool = False) -> ForwardPass:
        """Compute the losses of a batch; every process must call it with its own.

        Args:
          batch: The batch; None if this process has none left.
          stopping: Whether this process was asked to stop.
        """
        with self._state.processes.explaining_deaths():
            own = self._own_pass(batch)
        ended, stops, too_short, failures, dropped, *totals = self._state.processes.sums(
            batch is None,
            stopping,
            own.failure is not None and own.failure.too_short,
            own.failure is not None,
            len(own.dropped),
            *own.totals.entries(),
        )
        return ForwardPass(
            ended=bool(ended),
            stopping=bool(stops),
            failure=own.failure or _failure_elsewhere(bool(too_short), bool(failures)),
            names=own.names,
            dropped=own.dropped,
            num_dropped=int(dropped),
            totals=LossTotals.from_entries(totals),
            loss=own.loss,
        )

    def finish(self, forward: ForwardPass) -> TrainingStepResult:
        """Take the step after a forward pass that has not ended the epoch.

        Raises:
          BadBatchError: in all processes, if one of them cannot train on its batch; the state is
            unchanged then.
        """
        if forward.failure is not None:
            raise forward.failure
        assert forward.loss is not None
        grad_norm = self._backward(forward.loss, forward.names)
        state = self._state
        state.scheduler.step_batch(state.numbers.batch_idx_train)
        state.precision.step(state.optimizer)
        state.optimizer.zero_grad()
        return TrainingStepResult(
            totals=forward.totals,
            grad_norm=grad_norm,
            learning_rate=state.optimizer.param_groups[0]["lr"],
            grad_scale=state.precision.watch(state.numbers.batch_idx_train),
            dropped=forward.dropped,
            num_dropped=forward.num_dropped,
        )

    def _own_pass(self, batch: Batch | None) -> _OwnPass:
        self._state.model.train()
        own = _OwnPass()
        if batch is None:
            self._keep_in_step()
            return own
        usable = alignable(batch, _geometry(self._state.model))
        if usable is None:
            names = ", ".join(batch.cut_ids)
            reason = f"every utterance is too short: {names}"
            own.failure = BadBatchError(reason, too_short=True)
            own.dropped = batch.cut_ids
            self._keep_in_step()
            return own
        own.names = usable.cut_ids
        own.dropped = sorted({*batch.cut_ids} - {*usable.cut_ids})
        # The number of the step that is about to be taken.
        warmup = (self._state.numbers.batch_idx_train + 1) / self._config.model_warm_step
        try:
            own.loss, own.totals = compute_loss(
                self._sharing, usable, self._config, warmup, self._losses
            )
        except BadBatchError as failure:
            own.failure = failure
        return own

    def _keep_in_step(self) -> None:
        """Take part in the communication of a forward pass for which this process has no batch.

        The forward passes of the other processes broadcast buffers and once rebuild the gradient
        buckets. A process that skipped its own pass would answer the wrong communication call. The
        result is not used, and the random generators are restored.
        """
        if self._state.processes.world_size == 1:
            return
        model = self._state.model.eval()
        with random_state_kept():
            compute_loss(self._sharing, _silence(model), self._config, 2.0, self._losses)
        model.train()

    def _backward(self, loss: Tensor, names: Sequence[str]) -> float:
        """Compute the gradients, summed over all processes, and return their norm."""
        state = self._state
        # DistributedDataParallel takes the mean of the gradients; one process would get the sum.
        with state.processes.explaining_deaths():
            state.precision.backward(state.processes.world_size * loss, state.optimizer)
        grads = [p.grad for p in state.model.parameters() if p.grad is not None]
        norm = float(torch.stack(torch._foreach_norm(grads)).norm())
        if not math.isfinite(norm) and not state.precision.scales:
            state.optimizer.zero_grad()
            raise BadBatchError(f"the gradient is not finite for {', '.join(names)}")
        return norm


def _failure_elsewhere(too_short: bool, any_failure: bool) -> BadBatchError | None:
    if too_short:
        reason = "every utterance of another process is too short"
        return BadBatchError(reason, too_short=True, is_own=False)
    if any_failure:
        return BadBatchError("the loss is not finite in another process", is_own=False)
    return None


def _geometry(model: nn.Module) -> StreamingGeometry:
    encoder: Any = model.encoder
    geometry: StreamingGeometry = encoder.geometry
    return geometry


def _silence(model: nn.Module) -> Batch:
    """One short utterance of silence with one symbol."""
    encoder: Any = model.encoder
    frames = encoder.geometry.overlap + _FRAMES_OF_SILENCE * encoder.geometry.subsampling_factor
    features = torch.full((1, frames, encoder.feature_dim), _SILENT)
    symbol = 0 if model.blank_id else 1
    return Batch(features, torch.tensor([frames]), [[symbol]], ["silence"])


def alignable(batch: Batch, geometry: StreamingGeometry) -> Batch | None:
    """Remove utterances with fewer encoder frames than tokens; return None if none is left.

    Such utterances are segmentation errors, or too short for the front end.
    """
    frames = _encoder_frames(batch.feature_lens, geometry).tolist()
    kept = [row for row, tokens in enumerate(batch.tokens) if frames[row] >= max(len(tokens), 1)]
    if len(kept) == len(batch.tokens):
        return batch
    if not kept:
        return None
    lens = batch.feature_lens[kept]
    return replace(
        batch,
        features=batch.features[kept, : int(lens.max())],
        feature_lens=lens,
        tokens=[batch.tokens[row] for row in kept],
        cut_ids=[batch.cut_ids[row] for row in kept],
    )


def pruned_loss_scale(warmup: float) -> float:
    """Return the weight of the pruned loss, which is low until the simple loss can align."""
    if warmup < 1.0:
        return 0.0
    return 0.1 if 1.0 < warmup < 2.0 else 1.0


def compute_loss(
    model: nn.Module,
    batch: Batch,
    config: TrainingConfig,
    warmup: float,
    losses: LossBackend | None = None,
) -> tuple[Tensor, LossTotals]:
    """Compute the loss, summed over the utterances, as a tensor with its graph and as numbers.

    Args:
      model: A `calve_transducer.model.transducer.Transducer`, or one that shares its gradients.
      warmup: Batches so far, as a fraction of ``model_warm_step``.
      losses: The loss backend; calve's own by default.

    Raises:
      BadBatchError: if a loss is infinite or NaN; names the utterances.
    """
    transducer: nn.Module = getattr(model, "module", model)
    device = next(transducer.parameters()).device
    with autocast(config, device):
        simple, pruned = model(
            batch.features.to(device),
            batch.feature_lens.to(device),
            batch.tokens,
            prune_range=config.prune_range,
            am_scale=config.am_scale,
            lm_scale=config.lm_scale,
            delay_penalty=config.delay_penalty,
            first_symbol=_first_symbol(transducer, config),
            warmup=warmup,
            reduction="none",
            losses=losses,
        )
    finite = (simple.isfinite() & pruned.isfinite()).tolist()
    if not all(finite):
        bad = [cut_id for cut_id, good in zip(batch.cut_ids, finite, strict=True) if not good]
        raise BadBatchError(f"the loss is not finite for {', '.join(bad)}")
    simple_loss, pruned_loss = simple.sum(), pruned.sum()
    loss = config.simple_loss_scale * simple_loss + pruned_loss_scale(warmup) * pruned_loss
    frames = _encoder_frames(batch.feature_lens, transducer.encoder.geometry)  # type: ignore[union-attr, arg-type]
    totals = LossTotals(
        frames=int(frames.sum()),
        utterances=len(batch.cut_ids),
        loss=loss.item(),
        simple_loss=simple_loss.item(),
        pruned_loss=pruned_loss.item(),
    )
    return loss, totals


def _first_symbol(model: nn.Module, config: TrainingConfig) -> int:
    """Return -1, or the blank in a random share of the training batches."""
    share = config.blank_start_share if model.training else 0.0
    starts_with_blanks = share > 0.0 and torch.rand(()).item() < share
    return int(model.blank_id) if starts_with_blanks else -1  # type: ignore[arg-type]


def _encoder_frames(feature_lens: Tensor, geometry: StreamingGeometry) -> Tensor:
    lost = geometry.overlap - geometry.step_overlap
    frames = torch.div(feature_lens - lost, geometry.subsampling_factor, rounding_mode="floor")
    return frames.clamp(min=0)
