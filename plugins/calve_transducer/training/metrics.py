"""Training metrics: sums of losses, and their output to log, TensorBoard, progress and events."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

from calve.common.files import writing_explained

__all__ = ["SPACE_FIX", "LossTotals", "Scalars"]

SPACE_FIX = "free some space, then continue with --resume 1"
"""Fix for errors in writing a run's files."""


@dataclass
class LossTotals:
    """Sums of losses in nats, over utterances, and the encoder frames that they cover."""

    frames: int = 0
    utterances: int = 0
    loss: float = 0.0
    simple_loss: float = 0.0
    pruned_loss: float = 0.0

    def add(self, other: LossTotals) -> None:
        """Add the totals of other utterances."""
        self.frames += other.frames
        self.utterances += other.utterances
        self.loss += other.loss
        self.simple_loss += other.simple_loss
        self.pruned_loss += other.pruned_loss

    def entries(self) -> list[float]:
        """Return the sums in the order of the arguments of `LossTotals`."""
        return [self.frames, self.utterances, self.loss, self.simple_loss, self.pruned_loss]

    @classmethod
    def from_entries(cls, entries: list[float]) -> LossTotals:
        """Inverse of `entries`."""
        frames, utterances, *losses = entries
        return cls(int(frames), int(utterances), *losses)

    def per_frame(self) -> dict[str, float]:
        """Mean losses by name, in nats per encoder frame; empty if there are no frames."""
        if not self.frames:
            return {}
        return {
            "loss": self.loss / self.frames,
            "simple_loss": self.simple_loss / self.frames,
            "pruned_loss": self.pruned_loss / self.frames,
        }


class Scalars:
    """Writes named numbers of a step for TensorBoard.

    Each write reaches the file immediately, so that a full disk is an error at that point. The
    writers of torch and tensorboard use a thread, which a full disk ends with a traceback.

    Args:
      folder: The folder for TensorBoard's files.
      first_step: Steps from this one on in older files are superseded.

    Raises:
      CalveError: if the file cannot be written.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # The import of tensorboard takes seconds; only a run that starts needs it.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{gethostname()}.{os.getpid()}"
        self._path = folder / name
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab")
        self._records = RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        self._add(step=first_step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write numbers of one step.

        Raises:
          CalveError: if the file cannot be written.
        """
        value = self._summary.Value
        values = [value(tag=name, simple_value=number) for name, number in metrics.items()]
        self._add(step=step, summary=self._summary(value=values))

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # The error was reported when the number was written.
            self._file.close()

    def _add(self, **content: Any) -> None:
        event = self._event(wall_time=time.time(), **content)
        with self._explained():
            self._records.write(event.SerializeToString())
            self._file.flush()

    def _explained(self) -> AbstractContextManager[None]:
        return writing_explained("TensorBoard's numbers", self._path, SPACE_FIX)
