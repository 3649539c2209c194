"""Transducer losses in plain PyTorch, with k2's names and arguments.

`TorchLossBackend` is what the driver ``torch`` of ``calve.loss_backends`` resolves to. Any other
backend offers the same functions.
"""

from __future__ import annotations

from calve_transducer.losses.lattice import lattice_score
from calve_transducer.losses.logprobs import (
    RNNT_TYPES,
    get_rnnt_logprobs,
    get_rnnt_logprobs_joint,
    get_rnnt_logprobs_pruned,
    get_rnnt_logprobs_smoothed,
)
from calve_transducer.losses.pruning import do_rnnt_pruning, get_rnnt_prune_ranges
from calve_transducer.losses.rnnt import (
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
    rnnt_loss_smoothed,
)

__all__ = [
    "RNNT_TYPES",
    "TorchLossBackend",
    "do_rnnt_pruning",
    "get_rnnt_logprobs",
    "get_rnnt_logprobs_joint",
    "get_rnnt_logprobs_pruned",
    "get_rnnt_logprobs_smoothed",
    "get_rnnt_prune_ranges",
    "lattice_score",
    "rnnt_loss",
    "rnnt_loss_pruned",
    "rnnt_loss_simple",
    "rnnt_loss_smoothed",
]


class TorchLossBackend:
    """The losses that training needs, as one namespace."""

    rnnt_loss = staticmethod(rnnt_loss)
    rnnt_loss_simple = staticmethod(rnnt_loss_simple)
    rnnt_loss_smoothed = staticmethod(rnnt_loss_smoothed)
    rnnt_loss_pruned = staticmethod(rnnt_loss_pruned)
    get_rnnt_prune_ranges = staticmethod(get_rnnt_prune_ranges)
    do_rnnt_pruning = staticmethod(do_rnnt_pruning)
