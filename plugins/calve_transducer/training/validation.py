"""Validation losses."""

from __future__ import annotations

import torch

from calve.api import CalveError
from calve.protocols import BatchLoader, LossBackend
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.experiment import LOGGER
from calve_transducer.training.metrics import LossTotals
from calve_transducer.training.state import TrainingState, random_state_kept
from calve_transducer.training.step import BadBatchError, alignable, compute_loss

__all__ = ["validate"]


@torch.no_grad()
def validate(
    state: TrainingState, loader: BatchLoader, config: TrainingConfig, losses: LossBackend
) -> LossTotals:
    """Compute the losses over a whole loader, with the full pruned loss during warm-up too.

    Each process validates its own shard; the totals are those of all. The random generators are
    restored, so that validation does not change the training.

    Raises:
      CalveError: if no utterance can be aligned.
    """
    with random_state_kept():
        own = _own_losses(state, loader, config, losses)
    totals = LossTotals.from_entries(state.processes.sums(*own.entries()))
    if not totals.utterances:
        raise CalveError("no utterance of the validation data can be aligned")
    return totals


def _own_losses(
    state: TrainingState, loader: BatchLoader, config: TrainingConfig, losses: LossBackend
) -> LossTotals:
    """Compute the losses of this process' shard."""
    model = state.model.eval()
    loader.set_epoch(0)
    own = LossTotals()
    for batch in loader:
        usable = alignable(batch, model.encoder.geometry)  # type: ignore[arg-type, union-attr]
        if usable is None:
            continue
        try:
            _, found = compute_loss(model, usable, config, 2.0, losses)
        except BadBatchError as bad:
            LOGGER.warning("left out of validation: %s", bad)
            continue
        own.add(found)
    return own
