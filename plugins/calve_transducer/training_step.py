"""One batch: its loss, and the step of the optimiser that follows from it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from calve.api import StreamingGeometry
from calve.protocols import Batch, LossBackend
from calve_transducer.training_config import TrainingConfig
from calve_transducer.training_metrics import LossTotals

__all__ = ["BadBatchError", "alignable", "backward", "compute_loss", "pruned_loss_scale"]


class BadBatchError(Exception):
    """A batch that cannot be trained on, and why."""


def alignable(batch: Batch, geometry: StreamingGeometry) -> Batch | None:
    """The batch without utterances that have fewer encoder frames than tokens, None if all have.

    Such utterances are mistakes of segmentation, or were too short for their front end.
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
    """Weight of the pruned loss; it is only useful once the simple loss has learnt to align."""
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
    """The loss to minimise, summed over the utterances: with its graph, and in numbers.

    Args:
      warmup: Batches so far, as a fraction of ``model_warm_step``.
      losses: What computes the losses; calve's own by default.

    Raises:
      BadBatchError: if a loss is infinite or NaN; names the utterances.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=config.use_bf16):
        simple, pruned = model(
            batch.features.to(device),
            batch.feature_lens.to(device),
            batch.tokens,
            prune_range=config.prune_range,
            am_scale=config.am_scale,
            lm_scale=config.lm_scale,
            delay_penalty=config.delay_penalty,
            first_symbol=_first_symbol(model, config),
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
    frames = _encoder_frames(batch.feature_lens, model.encoder.geometry)  # type: ignore[union-attr, arg-type]
    totals = LossTotals(
        frames=int(frames.sum()),
        utterances=len(batch.cut_ids),
        loss=loss.item(),
        simple_loss=simple_loss.item(),
        pruned_loss=pruned_loss.item(),
    )
    return loss, totals


def _first_symbol(model: nn.Module, config: TrainingConfig) -> int:
    """-1, or in a random share of the training batches the blank."""
    share = config.blank_start_share if model.training else 0.0
    starts_with_blanks = share > 0.0 and torch.rand(()).item() < share
    return int(model.blank_id) if starts_with_blanks else -1  # type: ignore[arg-type]


def backward(loss: Tensor, model: nn.Module, cut_ids: list[str]) -> float:
    """Compute the gradients and return their norm.

    Raises:
      BadBatchError: if a gradient is not finite; all gradients are cleared then.
    """
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = float(torch.stack(torch._foreach_norm(grads)).norm())
    if not math.isfinite(norm):
        model.zero_grad()
        raise BadBatchError(f"the gradient is not finite for {', '.join(cut_ids)}")
    return norm


def _encoder_frames(feature_lens: Tensor, geometry: StreamingGeometry) -> Tensor:
    frames = torch.div(
        feature_lens - geometry.overlap, geometry.subsampling_factor, rounding_mode="floor"
    )
    return frames.clamp(min=0)
