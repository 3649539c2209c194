"""Transducer losses with k2's names and arguments, in plain PyTorch.

All are negative natural-log likelihoods. An utterance that cannot be aligned has loss +inf and
gradient exactly 0. Common arguments:

* ``boundary``: (B, 4) int64, rows ``[0, 0, S_b, T_b]``; None if nothing is padding.
* ``rnnt_type``: "regular", "modified" or "constrained".
* ``delay_penalty``: > 0 rewards early symbols (Kang et al. 2022, "Delay-penalized transducer for
  low-latency streaming ASR").
* ``reduction``: "none" (B,), "sum" or "mean" over utterances.
* ``return_grad``: also return ``(px_grad, py_grad)``, the arcs' occupation probabilities, which
  `get_rnnt_prune_ranges` takes.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from calve.api import ConfigError
from calve_transducer.losses.lattice import lattice_score
from calve_transducer.losses.logprobs import (
    get_rnnt_logprobs,
    get_rnnt_logprobs_joint,
    get_rnnt_logprobs_pruned,
    get_rnnt_logprobs_smoothed,
)
from calve_transducer.losses.pruning import boundary_or_full

__all__ = ["rnnt_loss", "rnnt_loss_pruned", "rnnt_loss_simple", "rnnt_loss_smoothed"]

Loss: TypeAlias = "Tensor | tuple[Tensor, tuple[Tensor, Tensor]]"


def rnnt_loss_simple(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
    return_grad: bool = False,
) -> Loss:
    """Loss of the joiner ``am[t] + lm[s]``; arguments as `get_rnnt_logprobs`."""
    px, py = get_rnnt_logprobs(lm, am, symbols, termination_symbol, rnnt_type, boundary)
    loss, grads = _loss(px, py, boundary, delay_penalty, reduction)
    return (loss, grads) if return_grad else loss


def rnnt_loss_smoothed(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
    return_grad: bool = False,
) -> Loss:
    """`rnnt_loss_simple` on a smoothed lattice; arguments as `get_rnnt_logprobs_smoothed`."""
    px, py = get_rnnt_logprobs_smoothed(
        lm, am, symbols, termination_symbol, lm_only_scale, am_only_scale, boundary, rnnt_type
    )
    loss, grads = _loss(px, py, boundary, delay_penalty, reduction)
    return (loss, grads) if return_grad else loss


def rnnt_loss(
    logits: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Loss of a full joiner's output, logits (B, T, S + 1, V)."""
    px, py = get_rnnt_logprobs_joint(logits, symbols, termination_symbol, rnnt_type, boundary)
    return _loss(px, py, boundary, delay_penalty, reduction)[0]


def rnnt_loss_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Loss of a joiner's output on pruned ranges, logits (B, T, r, V), ranges (B, T, r)."""
    px, py = get_rnnt_logprobs_pruned(
        logits, symbols, ranges, termination_symbol, boundary, rnnt_type
    )
    return _loss(px, py, boundary, delay_penalty, reduction)[0]


def _loss(
    px: Tensor, py: Tensor, boundary: Tensor | None, delay_penalty: float, reduction: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    boundary = boundary_or_full(boundary, py)
    if delay_penalty > 0.0:
        # Centered on the utterance, so that the penalties of a steady rate of symbols cancel.
        frame = torch.arange(px.shape[2], device=px.device)
        center = (boundary[:, 3:] - 1) / 2
        px = px + delay_penalty * (center - frame).unsqueeze(1).to(px.dtype)
    scores, px_grad, py_grad = lattice_score(px, py, boundary)
    return _reduce(-scores, reduction), (px_grad, py_grad)


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.mean()
    raise ConfigError(f"there is no reduction {reduction!r}", fix="choose none, sum or mean")
