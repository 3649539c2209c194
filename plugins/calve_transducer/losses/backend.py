"""The driver ``torch`` of ``calve.loss_backends``: transducer losses in plain PyTorch.

Names and arguments are k2's; any other backend offers the same functions.
"""

from __future__ import annotations

from calve_transducer.losses.pruning import do_rnnt_pruning, get_rnnt_prune_ranges
from calve_transducer.losses.rnnt import (
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
    rnnt_loss_smoothed,
)

__all__ = ["TorchLossBackend"]


class TorchLossBackend:
    """The losses that training needs, as one namespace."""

    rnnt_loss = staticmethod(rnnt_loss)
    rnnt_loss_simple = staticmethod(rnnt_loss_simple)
    rnnt_loss_smoothed = staticmethod(rnnt_loss_smoothed)
    rnnt_loss_pruned = staticmethod(rnnt_loss_pruned)
    get_rnnt_prune_ranges = staticmethod(get_rnnt_prune_ranges)
    do_rnnt_pruning = staticmethod(do_rnnt_pruning)
