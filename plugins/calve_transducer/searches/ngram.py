"""An n-gram language model over symbols, for shallow fusion."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kaldifst
import numpy as np
from numpy.typing import NDArray

from calve.data.tokens import SymbolTable
from calve_graphs.grammar import grammar_fst, grammar_text
from calve_graphs.lexicon import BACKOFF_SYMBOL

__all__ = ["NgramModel"]

_CAPACITY = 4096
"""Number of states whose scores are cached; with 512 symbols each they take 8 MiB."""


class _Row(NamedTuple):
    scores: NDArray[np.float32]
    destinations: dict[int, int]


class NgramModel:
    """An ARPA file as a `biases.Bias`.

    The words of the file are the model's symbols. A symbol that is not in the file gets the lowest
    probability in the file. The end of a sentence does not count, because a stream has none.

    Args:
      arpa: The file.
      symbols: The model's symbol table.
      scale: Multiplies the log probabilities.
      silent: Symbols that are never emitted, including the blank.

    Raises:
      DataError: if the file is no ARPA file, or shares no word with the symbols.
    """

    def __init__(
        self, arpa: Path, symbols: SymbolTable, scale: float, silent: Collection[int] = (0,)
    ) -> None:
        marks = [mark for mark in (BACKOFF_SYMBOL, "<s>", "</s>") if mark not in symbols]
        table = SymbolTable((*symbols, *marks))
        self._fst: Any = grammar_fst(grammar_text(arpa, table))
        self._backoff = table.id(BACKOFF_SYMBOL)
        self._vocab_size = len(symbols)
        self._silent = list(silent)
        self._scale = scale
        self.initial: int = self._fst.start
        self._rows: dict[int, _Row] = {}

    def scores(self, state: int) -> NDArray[np.float32]:
        """(vocab_size,), scaled log probabilities; 0 for symbols that are never emitted."""
        return self._row(state).scores

    def following(self, state: int, symbol: int) -> int:
        """The state after one more symbol."""
        destinations = self._row(state).destinations
        return destinations[symbol if symbol in destinations else self._backoff]

    def lent(self, state: int) -> float:
        """Return 0: later symbols do not change the probability of earlier ones."""
        return 0.0

    def _row(self, state: int) -> _Row:
        if state not in self._rows:
            if len(self._rows) >= _CAPACITY:
                self._rows.clear()
            self._rows[state] = self._look_up(state)
        return self._rows[state]

    def _look_up(self, state: int) -> _Row:
        costs = np.full(self._vocab_size, -np.inf)
        destinations: dict[int, int] = {}
        for at, before in self._chain(state):
            destinations[self._backoff] = at
            for arc in kaldifst.ArcIterator(self._fst, at):
                if arc.ilabel < self._vocab_size and arc.ilabel not in destinations:
                    costs[arc.ilabel] = before + arc.weight.value
                    destinations[arc.ilabel] = arc.nextstate
        known = np.isfinite(costs)
        costs[~known] = costs[known].max()
        costs[self._silent] = 0.0
        return _Row((-self._scale * costs).astype(np.float32), destinations)

    def _chain(self, state: int) -> Iterator[tuple[int, float]]:
        """Yield a state and its backoff states, each with the accumulated backoff weight."""
        cost = 0.0
        while True:
            yield state, cost
            back = [a for a in kaldifst.ArcIterator(self._fst, state) if a.ilabel == self._backoff]
            if not back:
                return
            state, cost = back[0].nextstate, cost + back[0].weight.value
