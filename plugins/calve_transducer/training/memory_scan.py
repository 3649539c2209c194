"""Check before the first epoch whether the largest batches fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from calve.api import CalveError
from calve.protocols import Batch, BatchLoader, LossBackend
from calve_transducer.training.config import TrainingConfig
from calve_transducer.training.experiment import LOGGER
from calve_transducer.training.state import TrainingState
from calve_transducer.training.step import BadBatchError, alignable, compute_loss

__all__ = ["check_memory"]


@runtime_checkable
class _KnowsLargest(Protocol):
    def largest_batches(self) -> Iterator[Batch]: ...


def check_memory(
    state: TrainingState, loader: BatchLoader, config: TrainingConfig, losses: LossBackend
) -> None:
    """Compute and discard the gradients of the loader's ``largest_batches()``.

    This does not change the training: no step is taken, and each epoch seeds its own random
    numbers. A CPU is not checked, because the system swaps or ends the process.

    Raises:
      CalveError: if a batch does not fit; names its utterances.
    """
    if state.processes.device.type == "cpu":
        LOGGER.info("the largest batches are not checked: training on a CPU")
        return
    if not isinstance(loader, _KnowsLargest):
        LOGGER.info("the largest batches are not checked: the loader does not know them")
        return
    state.model.train()
    for batch in loader.largest_batches():
        usable = alignable(batch, state.model.encoder.geometry)  # type: ignore[arg-type, union-attr]
        if usable is None:
            continue
        try:
            loss, _ = compute_loss(state.model, usable, config, 2.0, losses)
            loss.backward()  # type: ignore[no-untyped-call]
        except BadBatchError as bad:
            LOGGER.warning("one of the largest batches cannot be trained on: %s", bad)
        except torch.OutOfMemoryError as error:
            frames = int(batch.feature_lens.sum())
            raise CalveError(
                f"a batch of {len(batch.cut_ids)} utterances and {frames} frames does not fit into "
                f"the memory of {state.processes.device}: {', '.join(batch.cut_ids)}",
                fix="lower --max-duration, or give --use-fp16 1",
            ) from error
        finally:
            state.optimizer.zero_grad()
