"""Biases that raise the scores of some symbol sequences: language models and hotwords."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bias"]


class Bias(Protocol):
    """Adds to the log probability of a hypothesis, symbol by symbol; blanks do not count.

    What it knows of a hypothesis is a state, a whole number that follows from the symbols.
    """

    initial: int
    """The state of a hypothesis without symbols."""

    def scores(self, state: int) -> NDArray[np.float32]:
        """(vocab_size,), what each symbol adds; 0 for those that are never emitted. Read only."""

    def following(self, state: int, symbol: int) -> int:
        """The state after one more symbol."""

    def lent(self, state: int) -> float:
        """The part of what was added that is taken back if no symbol follows."""
