"""The noise that training mixes in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lhotse import CutSet

from calve.api import DataError
from calve.data.utterances import Utterance
from calve_lhotse.sources import checked_items
from calve_lhotse.utterances import utterances_of

__all__ = ["load_noise", "load_utterances", "noise_path"]

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
    return CutSet.from_cuts(checked_items(path)).with_features_path_prefix(data_dir).to_eager()


def load_utterances(data_dir: Path, split: str) -> Iterator[Utterance]:
    """The pieces of `load_noise`, whose words are unknown.

    Raises:
      DataError: if the split is unknown or not prepared.
    """
    if split != SPLIT:
        raise DataError(f"musan has no split {split!r}", fix=f"its only split is {SPLIT}")
    return utterances_of(load_noise(data_dir))
