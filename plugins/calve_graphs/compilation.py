"""Compilation of LG from L and G, by the steps of icefall's ``compile_lg.py``.

The steps are: compose, determinize (pushing weights in the log semiring, as k2 does), remove the
disambiguation symbols, remove epsilons. OpenFst's epsilon removal merges parallel arcs. This module
keeps them separate, as k2 does, so that sums over all paths of a lattice agree with icefall's.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import kaldifst
import numpy as np
from numpy.typing import NDArray

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve_graphs.graph import FINAL_LABEL, DecodingGraph
from calve_graphs.lexicon import BACKOFF_SYMBOL, WORDS_NOT_SPOKEN

__all__ = ["compile_lg"]

_EPSILON = 0
_INFINITE = float("inf")


def compile_lg(
    lexicon: Any, grammar: Any, tokens: SymbolTable, words: SymbolTable
) -> DecodingGraph:
    """Compile LG.

    Args:
      lexicon: L_disambig by `calve_graphs.lexicon.lexicon_fst`; not changed.
      grammar: G by `calve_graphs.grammar.grammar_fst`; not changed.
      tokens: Table of L's pieces, disambiguation symbols from ``#0`` on at its end.
      words: Table of G's words.

    Raises:
      DataError: if no sentence with a word is left.
    """
    left, right = lexicon.copy(), grammar.copy()
    kaldifst.arcsort(left, sort_type="olabel")
    kaldifst.arcsort(right, sort_type="ilabel")
    fst = kaldifst.compose(left, right)
    kaldifst.connect(fst)
    if not fst.num_states:
        raise DataError(
            "the lexicon can spell no sentence of the grammar",
            fix="check that the lexicon and the ARPA file share words",
        )
    kaldifst.determinize_star(fst, use_log=True)
    sequences = _WordSequences()
    arcs, start = _arcs(fst, sequences, words.id(BACKOFF_SYMBOL))
    arcs.label[arcs.label >= tokens.id(BACKOFF_SYMBOL)] = _EPSILON
    _check_words(sequences, words)
    final = fst.num_states
    arcs = _connected(_without_epsilon(arcs, start, sequences), start, final)
    return DecodingGraph.from_arcs(
        arcs.source,
        arcs.destination,
        arcs.label,
        arcs.score,
        [sequences[number] for number in arcs.words],
        words=words,
        tokens=tokens,
    )


def _check_words(sequences: Iterable[Sequence[int]], words: SymbolTable) -> None:
    """Reject a graph with `WORDS_NOT_SPOKEN` only, which would delete all words."""
    said = {word for sequence in sequences for word in sequence}
    if all(words[word] in WORDS_NOT_SPOKEN for word in said):
        raise DataError(
            "the decoding graph holds no word",
            fix="give a lexicon and an ARPA file that share words, in the same case",
        )


@dataclass
class _Arcs:
    """Arcs in columns; ``words`` counts in a `_WordSequences`."""

    source: NDArray[np.int64]
    destination: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    words: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: Any) -> _Arcs:
        return _Arcs(*(getattr(self, field.name)[rows] for field in fields(self)))


class _WordSequences(list[tuple[int, ...]]):
    """The word sequences of arcs, each stored once."""

    def __init__(self) -> None:
        super().__init__([()])
        self._numbers: dict[tuple[int, ...], int] = {(): 0}

    def number(self, sequence: tuple[int, ...]) -> int:
        if sequence not in self._numbers:
            self._numbers[sequence] = len(self)
            self.append(sequence)
        return self._numbers[sequence]

    def joined(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the concatenations of pairs of sequences."""
        pairs, inverse = np.unique(np.stack([first, second], 1), axis=0, return_inverse=True)
        numbers = [self.number(self[left] + self[right]) for left, right in pairs]
        return np.array(numbers, dtype=np.int64)[inverse.reshape(-1)]


def _arcs(fst: Any, sequences: _WordSequences, first_disambiguation: int) -> tuple[_Arcs, int]:
    """Return the arcs of an FST and its start; final weights become arcs to a new state."""
    final = fst.num_states
    numbers, scores = array("q"), array("d")  # lists would not hold millions of arcs
    for state in kaldifst.StateIterator(fst):
        for arc in kaldifst.ArcIterator(fst, state):
            is_word = 0 < arc.olabel < first_disambiguation
            said = sequences.number((arc.olabel,)) if is_word else 0
            numbers.extend((state, arc.nextstate, arc.ilabel, said))
            scores.append(-arc.weight.value)
        cost = fst.final(state).value
        if cost < _INFINITE:
            numbers.extend((state, final, FINAL_LABEL, 0))
            scores.append(-cost)
    source, destination, label, words = np.array(numbers).reshape(-1, 4).T.copy()
    return _Arcs(source, destination, label, np.array(scores), words), fst.start


def _without_epsilon(arcs: _Arcs, start: int, sequences: _WordSequences) -> _Arcs:
    """Remove epsilons: add arcs to all states that epsilons reach.

    As in k2, only the best of several epsilon paths between two states counts. Of two homophones
    with equal continuations, the worse one is removed.
    """
    is_epsilon = arcs.label == _EPSILON
    epsilons, rest = arcs[is_epsilon], arcs[~is_epsilon]
    closure = frontier = _best_of_parallel(epsilons)
    for _ in range(len(epsilons)):
        frontier = _chained(frontier, epsilons, sequences)
        if not len(frontier):
            break
        closure = _best_of_parallel(_concatenated(closure, frontier))
    else:
        if len(frontier):
            raise DataError("the grammar backs off in a circle")
    rest = _concatenated(rest, _chained(rest, closure, sequences))
    at_start = closure[closure.source == start]
    return _concatenated(rest, _chained(at_start, rest, sequences))


def _chained(first: _Arcs, second: _Arcs, sequences: _WordSequences) -> _Arcs:
    """Concatenate each arc of ``first`` with each arc of ``second`` that it leads to."""
    second = second[np.argsort(second.source, kind="stable")]
    begin = np.searchsorted(second.source, first.destination, side="left")
    count = np.searchsorted(second.source, first.destination, side="right") - begin
    left = first[np.repeat(np.arange(len(first)), count)]
    right = second[_ranges(begin, count)]
    return _Arcs(
        left.source,
        right.destination,
        np.where(left.label == _EPSILON, right.label, left.label),
        left.score + right.score,
        sequences.joined(left.words, right.words),
    )


def _best_of_parallel(arcs: _Arcs) -> _Arcs:
    """Return the best arc between each pair of states."""
    arcs = arcs[np.lexsort((-arcs.score, arcs.destination, arcs.source))]
    return arcs[_is_first(arcs.source) | _is_first(arcs.destination)]


def _is_first(column: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.concatenate([[True], column[1:] != column[:-1]])[: len(column)]


def _concatenated(first: _Arcs, second: _Arcs) -> _Arcs:
    columns = [
        np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(_Arcs)
    ]
    return _Arcs(*columns)


def _connected(arcs: _Arcs, start: int, final: int) -> _Arcs:
    """Return the arcs on paths from the start (state 0) to the final (last) state."""
    reached = _reachable(arcs.source, arcs.destination, start, final + 1)
    useful = reached & _reachable(arcs.destination, arcs.source, final, final + 1)
    if not useful[final]:
        raise DataError("no path leads through the graph")
    useful[start] = False
    numbers = np.cumsum(useful, dtype=np.int64)
    numbers[start] = 0
    useful[start] = True
    kept = arcs[useful[arcs.source] & useful[arcs.destination]]
    kept.source, kept.destination = numbers[kept.source], numbers[kept.destination]
    return kept


def _reachable(
    source: NDArray[np.int64], destination: NDArray[np.int64], origin: int, num_states: int
) -> NDArray[np.bool_]:
    order = np.argsort(source, kind="stable")
    splits = np.searchsorted(source[order], np.arange(num_states + 1))
    targets = destination[order]
    reached = np.zeros(num_states, dtype=bool)
    frontier = np.array([origin])
    while len(frontier):
        reached[frontier] = True
        begin = splits[frontier]
        following = np.unique(targets[_ranges(begin, splits[frontier + 1] - begin)])
        frontier = following[~reached[following]]
    return reached


def _ranges(begin: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """``begin[0], begin[0] + 1, ...`` (``count[0]`` numbers), then from ``begin[1]``, and so on."""
    before = np.cumsum(count) - count
    numbers: NDArray[np.int64] = np.arange(int(count.sum())) + np.repeat(begin - before, count)
    return numbers
