"""Options of ``calve prepare fsdd``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calve.api import Range
from calve_lhotse.stages.options import ExtractionOptions

__all__ = ["FsddOptions"]


@dataclass(frozen=True, kw_only=True)
class FsddOptions(ExtractionOptions):
    """What to prepare, from where, and how much of it."""

    root: Path = field(
        metadata={"help": "The data set: the directory of the recordings, or its parent."}
    )
    data_dir: Path = field(default=Path("data/fsdd"), metadata={"help": "Output directory."})
    seed: int = field(
        default=0, metadata={"help": "Seed of all random numbers.", "range": Range(0, 2**32 - 1)}
    )
    held_out_speaker: str = field(
        default="theo", metadata={"help": "Speaker that is excluded from training."}
    )
    train_variants: int = field(
        default=16,
        metadata={
            "help": "Number of utterances with each training recording.",
            "range": Range(1, 1000),
        },
    )
    test_variants: int = field(
        default=4,
        metadata={
            "help": "The same for the valid, test and heldout splits.",
            "range": Range(1, 1000),
        },
    )
    synthetic_fraction: float = field(
        default=0.3,
        metadata={
            "help": "Share of training utterances spoken by espeak-ng and flite.",
            "range": Range(0, 1),
        },
    )
    vocab_size: int = field(
        default=56,
        metadata={
            "help": "Number of symbols; with 54 or more, each digit is one symbol.",
            "range": Range(2, 1_000_000),
        },
    )
