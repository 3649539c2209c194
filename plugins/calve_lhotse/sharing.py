"""How batches come from worker processes into the training process.

torch hands tensors over in files of ``/dev/shm``. Where that is small (Docker gives 64 MB) or
read-only, a worker of torch fails in a thread of its queue, loses the batch, and the training waits
for it forever. Here the worker itself puts a batch there; where there is no room, the batch goes
through the pipe of the queue, which takes longer and always works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from calve.protocols import Batch

__all__ = ["PipedBatch", "handed_over", "received"]


@dataclass(frozen=True)
class PipedBatch:
    """A batch whose arrays are pickled as they are.

    Attributes:
      batch: The batch without its tensors.
      features, feature_lens: What belongs in it.
    """

    batch: Batch
    features: np.ndarray
    feature_lens: np.ndarray


def handed_over(batch: Batch) -> Batch | PipedBatch:
    """The batch in shared memory, or if that has no room, as plain arrays; for a worker."""
    try:
        for tensor in (batch.features, batch.feature_lens):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError:
        nothing = torch.empty(0)
        return PipedBatch(
            replace(batch, features=nothing, feature_lens=nothing),
            batch.features.numpy(),
            batch.feature_lens.numpy(),
        )
    return batch


def received(made: Batch | PipedBatch) -> Batch:
    """Inverse of `handed_over`, in the training process."""
    if not isinstance(made, PipedBatch):
        return made
    return replace(
        made.batch,
        features=torch.from_numpy(made.features),
        feature_lens=torch.from_numpy(made.feature_lens),
    )
