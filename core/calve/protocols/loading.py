"""How the batches of a corpus are to be made: what a training command tells a corpus' loader."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calve.errors import ConfigError

__all__ = ["WHOLE", "LoaderOptions", "Shard"]


def _option(default: Any, text: str, *, fixed: bool = True) -> Any:
    """A field; one that is not ``fixed`` changes no batch, only how soon it is ready."""
    return field(default=default, metadata={"help": text, "fixed": fixed})


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made; names, meanings and defaults are icefall's.

    A field whose ``metadata["fixed"]`` is true determines the batches, so it must be the same
    when a run is continued.
    """

    max_duration: float = _option(200.0, "Seconds of audio in a batch, before padding.")
    seed: int = _option(42, "Seed of initialization, data order, augmentation and dropout.")
    shortest_utterance: float = _option(
        0.0, "Seconds; shorter utterances are not trained on. icefall takes 1 for LibriSpeech."
    )
    longest_utterance: float = _option(
        0.0, "Seconds; longer utterances are not trained on. 0 for no limit; icefall takes 20."
    )
    bucketing_sampler: bool = _option(
        True, "Put utterances of similar length into a batch; otherwise any that come together."
    )
    num_buckets: int = _option(30, "Classes of length that --bucketing-sampler keeps apart.")
    enable_spec_aug: bool = _option(True, "Mask features of the training data (SpecAugment).")
    spec_aug_time_warp_factor: int = _option(
        80, "Frames that SpecAugment moves in time at most; less than 1 moves none."
    )
    enable_musan: bool = _option(
        True, "Mix noise, music and babble of MUSAN into the training data."
    )
    lang_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Folder of bpe.model and tokens.txt, relative to --data-dir; by default that "
            "of the first --vocab-size prepared.",
            "fixed": False,
        },
    )
    musan_dir: Path | None = field(
        default=None,
        metadata={
            "help": "Where `calve prepare musan` put it; by default `musan` beside the corpus.",
            "fixed": False,
        },
    )
    on_the_fly_feats: bool = _option(
        False, "Compute features while training, from audio; none need to be stored."
    )
    full_libri: bool | None = _option(
        None,
        "LibriSpeech: train on all its training parts (1) or on train-clean-100 alone (0); "
        "by default on what was prepared.",
    )
    num_workers: int = _option(
        2, "Processes that make batches; 0 makes them in the training process.", fixed=False
    )

    def __post_init__(self) -> None:
        if not self.max_duration > 0:  # NaN neither
            raise ConfigError(f"max_duration is {self.max_duration}; it must be positive")
        if not 0 <= self.shortest_utterance <= (self.longest_utterance or math.inf):
            raise ConfigError(
                f"no utterance lasts at least {self.shortest_utterance:g} s and at most "
                f"{self.longest_utterance:g} s",
                where="--shortest-utterance, --longest-utterance",
            )
        if self.num_buckets < 2:
            raise ConfigError(f"num_buckets is {self.num_buckets}; it must be at least 2")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers is {self.num_workers}; it must not be negative")


@dataclass(frozen=True)
class Shard:
    """Which batches one process of distributed training sees.

    Each process has batches of its own of ``max_duration``. All take the same number of steps;
    their batches of one step are of similar length. At the end of an epoch what is left is dealt
    out, and if there are fewer utterances than processes, some are seen twice.

    Attributes:
      rank: Number of the process, from 0.
      world_size: How many there are.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(f"rank {self.rank} is not one of {self.world_size} processes")


WHOLE = Shard()
"""All of the data, for training in one process."""
