"""Hotwords: phrases with a bonus."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from calve.api import ConfigError, DataError
from calve.common.inputs import check_input
from calve.data.text import normalized
from calve.data.tokens import SymbolTable

__all__ = ["Hotwords", "Speller"]

_ROOT = 0


class Hotwords:
    """Phrases in a trie of symbols with failure links, as a `biases.Bias`.

    Every symbol of a phrase adds the phrase's score as soon as it is found, so that the beginning
    of a phrase is not pruned before its end. If the phrase does not continue, the scores are
    removed again. A complete phrase keeps them. From "Contextual Speech Recognition in End-to-End
    Neural Network Systems Using Beam Search" (Williams et al., 2018), with the string matching of
    Aho and Corasick (1975).

    Args:
      phrases: Symbol ids of each phrase, and the score of each of its symbols.
      vocab_size: Number of symbols.
      silent: Symbols that are never emitted, including the blank.
    """

    initial = _ROOT

    def __init__(
        self,
        phrases: Iterable[tuple[Sequence[int], float]],
        vocab_size: int,
        silent: Collection[int] = (0,),
    ) -> None:
        self._vocab_size = vocab_size
        self._silent = list(silent)
        self._children: list[dict[int, int]] = [{}]
        self._lent = [0.0]
        kept: dict[int, float] = {}
        for symbols, score in phrases:
            node = _ROOT
            for symbol in symbols:
                node = self._child(node, symbol, score)
            kept[node] = max(kept.get(node, -math.inf), score * len(symbols))
        self._kept = [kept.get(node, 0.0) for node in range(len(self._children))]
        self._fallback = [_ROOT] * len(self._children)
        for node in self._breadth_first():
            self._link(node)
        self._scores: dict[int, NDArray[np.float32]] = {}

    def scores(self, state: int) -> NDArray[np.float32]:
        """(vocab_size,), the score of each symbol."""
        if state not in self._scores:
            row = np.full(self._vocab_size, -self._lent[state], dtype=np.float32)
            node = state
            expected = set(self._children[_ROOT])
            while node != _ROOT:
                expected |= self._children[node].keys()
                node = self._fallback[node]
            for symbol in expected:
                following = self.following(state, symbol)
                row[symbol] += self._lent[following] + self._kept[following]
            row[self._silent] = 0.0
            self._scores[state] = row
        return self._scores[state]

    def following(self, state: int, symbol: int) -> int:
        """Return the longest beginning of a phrase that is a suffix of the symbols."""
        while state != _ROOT and symbol not in self._children[state]:
            state = self._fallback[state]
        return self._children[state].get(symbol, _ROOT)

    def lent(self, state: int) -> float:
        """Return the scores given to a phrase that is incomplete."""
        return self._lent[state]

    def _child(self, node: int, symbol: int, score: float) -> int:
        child = self._children[node].setdefault(symbol, len(self._children))
        if child == len(self._children):
            self._children.append({})
            self._lent.append(-math.inf)
        self._lent[child] = max(self._lent[child], self._lent[node] + score)
        return child

    def _breadth_first(self) -> Iterator[int]:
        """Yield all nodes except the root, ordered by number of symbols."""
        waiting = deque(self._children[_ROOT].values())
        while waiting:
            node = waiting.popleft()
            yield node
            waiting.extend(self._children[node].values())

    def _link(self, node: int) -> None:
        """Set the failure link of a node; all shorter nodes have theirs."""
        fallback = self._fallback[node]
        for symbol, child in self._children[node].items():
            self._fallback[child] = self.following(fallback, symbol)
        self._kept[node] += self._kept[fallback]
        if not self._children[node]:
            self._lent[node] = self._lent[fallback]


class Speller:
    """Turns phrases into symbols.

    Args:
      symbols: The model's symbol table.
      bpe_model: The model's ``bpe.model``, which spells phrases that are written as words; without
        it they are written as symbols with spaces between them.

    Raises:
      DataError: if the BPE model cannot be read.
    """

    def __init__(self, symbols: SymbolTable, bpe_model: Path | None = None) -> None:
        self._symbols = symbols
        self._bpe = None
        if bpe_model is not None:
            check_input(bpe_model, "sentencepiece model", DataError)
            try:
                self._bpe = sentencepiece.SentencePieceProcessor(model_file=str(bpe_model))
            except (OSError, RuntimeError) as error:
                raise DataError("this is not a sentencepiece model", where=bpe_model) from error

    def spell(self, phrase: str) -> list[int]:
        """The symbols of a phrase.

        Raises:
          ConfigError: if it is empty, or a symbol is not in the table.
        """
        pieces = normalized(phrase).split()
        if self._bpe is not None and not all(piece in self._symbols for piece in pieces):
            pieces = self._bpe.encode(phrase, out_type=str)
        unknown = [piece for piece in pieces if piece not in self._symbols]
        if unknown or not pieces:
            raise ConfigError(
                f"the hotword {phrase!r} cannot be spelled: the symbol table has no {unknown[0]!r}"
                if unknown
                else "a hotword is empty",
                fix="write it in symbols of tokens.txt with spaces between them, or give the "
                "bpe_model of this model",
            )
        return [self._symbols.id(piece) for piece in pieces]
