"""Biases on the scores of symbol sequences: language models and hotwords."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bias"]


class Bias(Protocol):
    """A term that is added to the log probability of a hypothesis at each symbol, not at blanks.

    Its state for a hypothesis is an integer that depends on the symbols only.
    """

    initial: int
    """The state of a hypothesis without symbols."""

    def scores(self, state: int) -> NDArray[np.float32]:
        """(vocab_size,), the term of each symbol; 0 if it is never emitted. Read-only."""

    def following(self, state: int, symbol: int) -> int:
        """The state after one more symbol."""

    def lent(self, state: int) -> float:
        """The part of the added terms that is removed if no symbol follows."""
