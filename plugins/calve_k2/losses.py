"""The transducer losses of k2: the driver ``k2`` of ``calve.loss_backends``.

This module imports only k2, so that it can be measured and compared in environments without calve:
the last wheel of k2 on PyPI requires Python 3.9 and torch 1.12.
"""

from __future__ import annotations

import k2

__all__ = ["K2LossBackend"]


class K2LossBackend:
    """A `calve.protocols.LossBackend`."""

    rnnt_loss = staticmethod(k2.rnnt_loss)
    rnnt_loss_simple = staticmethod(k2.rnnt_loss_simple)
    rnnt_loss_smoothed = staticmethod(k2.rnnt_loss_smoothed)
    rnnt_loss_pruned = staticmethod(k2.rnnt_loss_pruned)
    get_rnnt_prune_ranges = staticmethod(k2.get_rnnt_prune_ranges)
    do_rnnt_pruning = staticmethod(k2.do_rnnt_pruning)
