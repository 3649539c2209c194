"""Options of the preparation of all corpora of sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calve.api import ConfigError, Range, check_ranges
from calve.common.ranges import ANY_NUMBER

__all__ = ["ExtractionOptions", "PreparationOptions"]


def _option(default: Any, text: str, *, limits: Range = ANY_NUMBER) -> Any:
    return field(default=default, metadata={"help": text, "range": limits})


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """Where features are computed and kept.

    Attributes:
      data_dir: Everything that is prepared lies in here.
    """

    data_dir: Path
    jobs: int = _option(2, "Number of parallel processes.", limits=Range(1, 256))
    dask: str | None = _option(
        None, "Address of a Dask scheduler; features are computed on its cluster instead."
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PreparationOptions(ExtractionOptions):
    """What is made of recordings and transcripts, whatever corpus they are of."""

    speed_factors: tuple[float, ...] = _option(
        (0.9, 1.1), "Additional speeds of the training data.", limits=Range(0.5, 2)
    )
    store_features: bool = _option(
        True, "Compute and store features; otherwise train with --on-the-fly-feats 1."
    )
    shar_dir: tuple[Path, ...] = _option(
        (),
        "Directories for Lhotse Shar, used in turn: features, or audio with --store-features 0.",
    )
    allow_commands: bool = _option(
        False,
        "Let sources in manifests be commands, which a shell runs, and URLs, which are fetched.",
    )
    vocab_size: tuple[int, ...] = _option(
        (500,), "Number of symbols of each BPE model.", limits=Range(2, 1_000_000)
    )
    lm: Path | None = field(
        default=None,
        metadata={
            "help": "ARPA language model, plain or .gz; by default a model is trained on the "
            "transcripts."
        },
    )
    ngram_order: int = _option(3, "Largest n-gram order of the grammar G.", limits=Range(1, 5))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.vocab_size:
            raise ConfigError("no BPE model to train", where="--vocab-size")
        if 1 in self.speed_factors:
            raise ConfigError(
                f"one of the speeds {self.speed_factors} is 1",
                where="--speed-factors",
                fix="speed 1 is always among the data; give others, for example 0.9,1.1",
            )
