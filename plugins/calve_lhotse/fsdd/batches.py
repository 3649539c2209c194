"""Batches of connected digits, for training and validation."""

from __future__ import annotations

from pathlib import Path

from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.loader import CutBatches
from calve_lhotse.subwords import MODEL_NAME, load_subwords

__all__ = ["load_batches"]


def load_batches(
    data_dir: Path, split: str, *, max_duration: float, seed: int, training: bool
) -> CutBatches:
    """Batches of one prepared split; see `calve_lhotse.loader.CutBatches`.

    Raises:
      DataError: if the split is unknown or not prepared.
    """
    return CutBatches(
        load_cuts(data_dir, split),
        load_subwords(Path(data_dir) / "lang" / MODEL_NAME),
        max_duration=max_duration,
        seed=seed,
        training=training,
    )
