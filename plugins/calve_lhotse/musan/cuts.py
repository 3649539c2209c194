"""The noise that training mixes in."""

from __future__ import annotations

from pathlib import Path

from lhotse import CutSet

from calve.api import DataError

__all__ = ["load_cuts", "load_noise", "noise_path"]

SPLIT = "noise"


def noise_path(data_dir: Path) -> Path:
    """Where the cuts are listed."""
    return Path(data_dir) / "fbank" / "musan" / "musan_cuts.jsonl.gz"


def load_noise(data_dir: Path) -> CutSet:
    """All of MUSAN in pieces of up to ten seconds, in memory.

    Raises:
      DataError: if it has not been prepared.
    """
    path = noise_path(data_dir)
    if not path.is_file():
        raise DataError(
            "MUSAN has not been prepared",
            where=path,
            fix=f"calve prepare musan --dl-dir FOLDER --data-dir {data_dir}, or train without "
            "noise: --enable-musan 0",
        )
    return CutSet.from_file(path).with_features_path_prefix(data_dir).to_eager()


def load_cuts(data_dir: Path, split: str) -> CutSet:
    """`load_noise`, as a `calve.registry.specs.DatasetSpec` wants it."""
    if split != SPLIT:
        raise DataError(f"musan has no split {split!r}", fix=f"its only split is {SPLIT}")
    return load_noise(data_dir)
