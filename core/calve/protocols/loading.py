"""Options of data loaders, and the share of each process in distributed training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calve.common.ranges import ANY_NUMBER, Range, check_ranges
from calve.errors import ConfigError

__all__ = ["WHOLE", "LoaderOptions", "Shard", "loader_option", "with_default"]


def loader_option(
    default: Any, text: str, *, fixed: bool = True, limits: Range = ANY_NUMBER
) -> Any:
    """A field of loader options.

    Args:
      default: Its default.
      text: Its ``--help`` text.
      fixed: Whether it affects the content of batches. Such an option must keep its value when a
        run is resumed. Other options affect only speed or the location of files.
      limits: The range of its number.
    """
    return field(default=default, metadata={"help": text, "fixed": fixed, "range": limits})


def with_default(options: type, name: str, default: Any) -> Any:
    """The field ``name`` of ``options`` with another default, for a subclass or another corpus."""
    (known,) = (one for one in dataclasses.fields(options) if one.name == name)
    return field(default=default, metadata=known.metadata)


@dataclass(frozen=True)
class LoaderOptions:
    """Options of every loader; names, meanings and defaults are those of icefall.

    A corpus with further options, or other defaults, names a subclass in
    `calve.registry.specs.DatasetSpec.loader_options`; its fields are `loader_option`\\ s.

    Raises:
      ConfigError: if a value is impossible.
    """

    max_duration: float = loader_option(
        200.0,
        "Seconds of audio in a batch, before padding.",
        limits=Range(0, 1e6, above_minimum=True),
    )
    seed: int = loader_option(
        42,
        "Seed of initialization, data order, augmentation and dropout.",
        limits=Range(0, 2**32 - 1),
    )
    shortest_utterance: float = loader_option(
        0.0,
        "Minimum length of training utterances in seconds. icefall uses 1 for LibriSpeech.",
        limits=Range(0, 1e6),
    )
    longest_utterance: float = loader_option(
        0.0,
        "Maximum length of training utterances in seconds; 0 for no limit. icefall uses 20.",
        limits=Range(0, 1e6),
    )
    num_workers: int = loader_option(
        2,
        "Processes that make batches; 0 makes them in the training process.",
        fixed=False,
        limits=Range(0, 256),
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 0 <= self.shortest_utterance <= (self.longest_utterance or math.inf):
            raise ConfigError(
                f"no utterance lasts at least {self.shortest_utterance:g} s and at most "
                f"{self.longest_utterance:g} s",
                where="--shortest-utterance, --longest-utterance",
            )

    def symbol_table(self, default: Path) -> Path:
        """The symbol table to train with, relative to the prepared corpus.

        Args:
          default: `calve.registry.specs.DatasetSpec.tokens`. A corpus that prepares several
            symbol tables overrides this method.
        """
        return default


@dataclass(frozen=True)
class Shard:
    """The share of the batches for one process of distributed training.

    Each process has its own batches of ``max_duration``. All processes take the same number of
    steps, and their batches in one step have similar lengths. At the end of an epoch, the remaining
    utterances are distributed. If there are fewer utterances than processes, some are used twice.

    Attributes:
      rank: Number of the process, from 0.
      world_size: Number of processes.

    Raises:
      ConfigError: if there is no such process.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(f"rank {self.rank} is not one of {self.world_size} processes")


WHOLE = Shard()
"""All of the data, for training in one process."""
