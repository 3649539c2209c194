"""Options of ``calve prepare fsdd``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calve_lhotse.stages.options import ExtractionOptions

__all__ = ["FsddOptions"]


@dataclass(frozen=True, kw_only=True)
class FsddOptions(ExtractionOptions):
    """What to prepare, from where, and how much of it."""

    root: Path = field(
        metadata={"help": "The data set: the folder of the recordings, or its parent."}
    )
    data_dir: Path = field(default=Path("data/fsdd"), metadata={"help": "Where to write."})
    seed: int = field(default=0, metadata={"help": "Everything random follows from it."})
    held_out_speaker: str = field(default="theo", metadata={"help": "Never heard in training."})
    train_variants: int = field(
        default=16, metadata={"help": "Utterances that each training recording occurs in."}
    )
    test_variants: int = field(
        default=4, metadata={"help": "The same for the valid, test and heldout splits."}
    )
    synthetic_fraction: float = field(
        default=0.3,
        metadata={"help": "Share of training utterances that espeak-ng and flite speak."},
    )
    vocab_size: int = field(
        default=56,
        metadata={"help": "Symbols; with 54 or more each digit is a single one."},
    )
