"""Training: batches, loaders, loss backends and training runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from calve.protocols.loading import WHOLE, Shard

if TYPE_CHECKING:
    import torch

    from calve.common.progress import Progress

__all__ = ["Batch", "BatchLoader", "LossBackend", "OpenLoader", "TrainingData", "TrainingRun"]


@dataclass(frozen=True)
class Batch:
    """One batch of utterances.

    Attributes:
      features: (N, T, C) float32, padded at the end with log(1e-10).
      feature_lens: (N,) int64, frames of each utterance.
      tokens: Symbol ids of each utterance, without blank, start or end.
      cut_ids: Name of each utterance, for messages.
    """

    features: torch.Tensor
    feature_lens: torch.Tensor
    tokens: list[list[int]]
    cut_ids: list[str]


class BatchLoader(Protocol):
    """Batches by epoch. Batch k of epoch n depends only on the options, n, k and the shard.

    A loader may also have ``largest_batches() -> Iterator[Batch]``: the batches of the epoch that
    need most memory. Training on a GPU tries them first, so that it fails early or not at all.
    """

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the rest of the current epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position as plain numbers; batches read ahead do not count as consumed."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a position; the next batch is the one that would have followed."""


class OpenLoader(Protocol):
    """Opens one split of a prepared corpus; ``training`` shuffles and augments."""

    def __call__(
        self,
        data_dir: Path,
        split: str,
        options: Any,
        *,
        training: bool,
        shard: Shard = WHOLE,
    ) -> BatchLoader:
        """Return the batches of the split, from the first one of epoch 0.

        ``options`` is an instance of the class that the corpus names as ``loader_options``.

        Raises:
          DataError: if the split does not exist or was not prepared.
        """


class LossBackend(Protocol):
    """A driver in the namespace ``calve.loss_backends``, with k2's functions, names and arguments.

    B is the batch size, S the largest number of symbols and T of frames in an utterance, V the
    vocabulary size, r the width of the pruned range. ``boundary`` (B, 4) contains
    ``[0, 0, S_b, T_b]``. Losses are negative natural logarithms, and +inf for an utterance that
    cannot be aligned.
    """

    def rnnt_loss_smoothed(
        self,
        lm: torch.Tensor,
        am: torch.Tensor,
        symbols: torch.Tensor,
        termination_symbol: int,
        **options: Any,
    ) -> Any:
        """The loss of lm (B, S + 1, V) and am (B, T, V), and the gradients that pruning uses."""

    def get_rnnt_prune_ranges(
        self,
        px_grad: torch.Tensor,
        py_grad: torch.Tensor,
        boundary: torch.Tensor,
        s_range: int,
    ) -> torch.Tensor:
        """The symbol positions that each frame keeps, (B, T, r)."""

    def do_rnnt_pruning(
        self, am: torch.Tensor, lm: torch.Tensor, ranges: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """am (B, T, C) and lm (B, S + 1, C) at the kept positions, both (B, T, r, C)."""

    def rnnt_loss_pruned(
        self,
        logits: torch.Tensor,
        symbols: torch.Tensor,
        ranges: torch.Tensor,
        termination_symbol: int,
        **options: Any,
    ) -> torch.Tensor:
        """The loss of logits (B, T, r, V) on the kept positions."""


@dataclass(frozen=True)
class TrainingData:
    """The corpus of a run, saved with its options so that a run is not resumed on another corpus.

    Attributes:
      corpus: Name of the corpus.
      data_dir: Its data directory, which may differ when the run is resumed.
    """

    corpus: str
    data_dir: Path = field(metadata={"fixed": False})


@dataclass
class TrainingRun:
    """Input of `ModelFamily.train`.

    Attributes:
      model: A freshly built model.
      recipe: The recipe's name.
      configuration: The resolved options by table: "encoder", "model", "training", "loading",
        "data" (dataclasses).
      train: Training batches.
      valid: Validation batches.
      exp_dir: Directory for checkpoints, logs and the configuration.
      progress: Shows progress.
      on_metrics: Called with (step, metrics) whenever metrics are logged.
    """

    model: torch.nn.Module
    recipe: str
    configuration: dict[str, Any]
    train: BatchLoader
    valid: BatchLoader
    exp_dir: Path
    progress: Progress
    on_metrics: Callable[[int, dict[str, float]], None]
