"""Losses added up, and where they are shown: log file, TensorBoard, progress, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LossTotals", "Scalars"]


@dataclass
class LossTotals:
    """Sums of losses in nats, over utterances, and the encoder frames that they cover."""

    frames: int = 0
    utterances: int = 0
    loss: float = 0.0
    simple_loss: float = 0.0
    pruned_loss: float = 0.0

    def add(self, other: LossTotals) -> None:
        """Count other utterances too."""
        self.frames += other.frames
        self.utterances += other.utterances
        self.loss += other.loss
        self.simple_loss += other.simple_loss
        self.pruned_loss += other.pruned_loss

    def entries(self) -> list[float]:
        """The sums, in the order in which `LossTotals` takes them."""
        return [self.frames, self.utterances, self.loss, self.simple_loss, self.pruned_loss]

    @classmethod
    def from_entries(cls, entries: list[float]) -> LossTotals:
        """Inverse of `entries`."""
        frames, utterances, *losses = entries
        return cls(int(frames), int(utterances), *losses)

    def per_frame(self) -> dict[str, float]:
        """Mean losses by name, in nats per encoder frame."""
        frames = max(self.frames, 1)
        return {
            "loss": self.loss / frames,
            "simple_loss": self.simple_loss / frames,
            "pruned_loss": self.pruned_loss / frames,
        }


class Scalars:
    """Writes named numbers of a step for TensorBoard.

    Args:
      folder: Where TensorBoard's files go.
      first_step: Steps from here on in older files are superseded.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # tensorboard's import takes seconds, and only a run that really starts needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add numbers; they may stay in memory for two minutes."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring to the disk what was added."""
        self._writer.flush()

    def close(self) -> None:
        """The same, and end."""
        self._writer.close()
