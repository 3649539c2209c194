"""The n-best list of a lattice: sampled paths, and the selection of the best.

The paths are those of k2, which samples with evenly spaced numbers. The same lattice therefore
always gives the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from kaldialign import edit_distance
from numpy.typing import NDArray

from calve_graphs.graph import DecodingGraph
from calve_transducer.compilation import compiled
from calve_transducer.searches.lattice import Lattice

__all__ = ["Nbest", "closest", "most_probable", "most_probable_alignment"]

Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

Sequences = list[Int64Array]
Said = TypeVar("Said", int, str)


class Nbest:
    """Paths sampled from a lattice, one for each sequence of words (or tokens).

    Args:
      lattice: The lattice to sample from.
      graph: The graph that made the lattice.
      num_paths: Number of samples; paths with the same sequence count once.
      nbest_scale: Factor of the lattice's scores for sampling; lower values give more diverse
        paths.

    Attributes:
      paths: One array of T arcs for each, T being the encoder frames.
      sequences: The sequence of each.
    """

    def __init__(
        self, lattice: Lattice, graph: DecodingGraph, *, num_paths: int, nbest_scale: float
    ) -> None:
        self.lattice = lattice
        self._said_splits, self._said = graph.sayings()
        drawn = _draw(lattice, num_paths, nbest_scale)
        said = [self._says(path) for path in drawn]
        kept = _unique(said)
        self.paths = [drawn[index] for index in kept]
        self.sequences = [said[index] for index in kept]

    def score(self, sequence: Int64Array) -> float:
        """Return the log probability of a sequence, summed over its alignments in the lattice."""
        score, _ = self._aligned(sequence, True)
        return score

    def align(self, sequence: Int64Array) -> tuple[float, Int64Array]:
        """Return the log probability and the path of the best alignment of a sequence."""
        return self._aligned(sequence, False)

    def _aligned(self, sequence: Int64Array, adds_up: bool) -> tuple[float, Int64Array]:
        lattice = self.lattice
        score, path = _align(
            lattice.source,
            lattice.destination,
            lattice.graph_arc,
            lattice.score,
            lattice.num_states,
            self._said_splits,
            self._said,
            sequence,
            adds_up,
        )
        return float(score), path

    def _says(self, path: Int64Array) -> Int64Array:
        arcs = self.lattice.graph_arc[path]
        return np.array(
            [
                word
                for arc in arcs[arcs >= 0].tolist()
                for word in self._said[self._said_splits[arc] : self._said_splits[arc + 1]]
            ],
            dtype=np.int64,
        )


def most_probable_alignment(nbest: Nbest) -> tuple[Int64Array, float] | None:
    """Return the path and the score of the best alignment of any sequence."""
    aligned = [nbest.align(sequence) for sequence in nbest.sequences]
    if not aligned:
        return None
    score, path = aligned[_last_highest([score for score, _ in aligned])]
    return path, score


def most_probable(nbest: Nbest) -> tuple[Int64Array, float] | None:
    """Return the sampled path of the most probable sequence, and the sequence's score."""
    scores = [nbest.score(sequence) for sequence in nbest.sequences]
    if not scores:
        return None
    best = _last_highest(scores)
    return nbest.paths[best], scores[best]


def closest(
    nbest: Nbest, reference: Sequence[Said], spell: Callable[[Int64Array], Sequence[Said]]
) -> tuple[Int64Array, float] | None:
    """Return the path whose sequence has the fewest errors, and the score of its best alignment.

    Args:
      nbest: The paths.
      reference: The reference, in the units in which errors are counted.
      spell: Converts a sequence of the list to these units.
    """
    errors = [edit_distance(reference, spell(one))["total"] for one in nbest.sequences]
    if not errors:
        return None
    best = _last_highest([-count for count in errors])
    score, _ = nbest.align(nbest.sequences[best])
    return nbest.paths[best], score


def _last_highest(values: Sequence[float]) -> int:
    """Return the index of the last maximum, as k2 does."""
    return len(values) - 1 - int(np.argmax(values[::-1]))


def _unique(sequences: Sequences) -> list[int]:
    """Return the indices of different sequences in k2's order, which is that of a hash.

    The order decides which of several equally good ones is taken.
    """
    by_hash: dict[int, int] = {}
    for index, sequence in enumerate(sequences):
        by_hash.setdefault(_hash(sequence), index)
    return [by_hash[key] for key in sorted(by_hash)]


def _hash(sequence: Int64Array) -> int:
    first, second = 13, 787
    for value in sequence.tolist():
        first = 31 * first + value
        second = 167 * second + value
    number = (first + 104729 * second) & 0xFFFFFFFFFFFFFFFF
    return number - (1 << 64) if number >> 63 else number


def _draw(lattice: Lattice, num_paths: int, scale: float) -> list[Int64Array]:
    if not len(lattice.source):
        return []
    splits = np.searchsorted(lattice.source, np.arange(lattice.num_states + 1))
    scores = lattice.score * np.float32(scale)
    return list(_paths(splits, lattice.destination, scores, num_paths))


@compiled
def _paths(
    splits: Int64Array, destination: Int32Array, scores: Float32Array, num_paths: int
) -> Int64Array:
    """(paths, frames) arcs; no paths if the final state cannot be reached.

    Each path has a position between 0 and 1. At every state the arcs divide the interval in
    proportion to their probabilities. The path takes the arc whose part contains the position, and
    that part becomes the interval.
    """
    num_states = len(splits) - 1
    to_end = np.full(num_states, -np.inf)
    to_end[-1] = 0.0
    for state in range(num_states - 2, -1, -1):
        for arc in range(splits[state], splits[state + 1]):
            way = np.float64(scores[arc]) + to_end[destination[arc]]
            if way > -np.inf:
                to_end[state] = np.logaddexp(to_end[state], way)
    shares = np.zeros(len(destination))  # where the part of an arc begins
    for state in range(num_states - 1):
        total = 0.0
        for arc in range(splits[state], splits[state + 1]):
            shares[arc] = total
            way = np.float64(scores[arc]) + to_end[destination[arc]]
            if way > -np.inf:
                total += np.exp(way - to_end[state])
        if total > 0:
            shares[splits[state] : splits[state + 1]] /= total
    if to_end[0] == -np.inf:
        return np.empty((0, 0), np.int64)
    length, state = 0, 0
    while state != num_states - 1:
        length += 1
        state = destination[_arc_at(shares, splits[state], splits[state + 1], 0.5)]
    paths = np.empty((num_paths, length), np.int64)
    for number in range(num_paths):
        position, state = (0.5 + number) / num_paths, 0
        for frame in range(length):
            first, last = splits[state], splits[state + 1]
            arc = _arc_at(shares, first, last, position)
            end = 1.0 if arc + 1 == last else shares[arc + 1]
            position = (position - shares[arc]) / (end - shares[arc])
            paths[number, frame] = arc
            state = destination[arc]
    return paths


@compiled
def _arc_at(shares: Float64Array, first: int, last: int, position: float) -> int:
    arc = first
    while arc + 1 < last and shares[arc + 1] <= position:
        arc += 1
    return arc


@compiled
def _align(
    source: Int32Array,
    destination: Int32Array,
    graph_arc: Int32Array,
    scores: Float32Array,
    num_states: int,
    said_splits: Int32Array,
    said: Int32Array,
    sequence: Int64Array,
    adds_up: bool,
) -> tuple[float, Int64Array]:
    """Return the score of a sequence and its best path.

    Each state has a score for each number of words of the sequence before it. Only the numbers from
    ``low`` to ``high`` have been reached.

    Args:
      adds_up: Whether the score is the sum over all alignments; the path is then empty.
    """
    size = len(sequence) + 1
    best = np.empty((num_states, size), np.float64)
    entering = np.empty((num_states, size), np.int64)
    low, high = np.full(num_states, size), np.full(num_states, -1)
    best[0, 0], low[0], high[0] = 0.0, 0, 0
    for arc in range(len(source)):
        begin, end = 0, 0
        if graph_arc[arc] >= 0:
            begin, end = said_splits[graph_arc[arc]], said_splits[graph_arc[arc] + 1]
        here, there = source[arc], destination[arc]
        for done in range(low[here], high[here] + 1):
            after = done + end - begin
            if best[here, done] == -np.inf or after >= size:
                continue
            if not (sequence[done:after] == said[begin:end]).all():
                continue
            _widen(best[there], low, high, there, after)
            reached = best[here, done] + scores[arc]
            if adds_up:
                best[there, after] = np.logaddexp(best[there, after], reached)
            elif reached >= best[there, after]:
                best[there, after], entering[there, after] = reached, arc
    final, done = num_states - 1, size - 1
    if not low[final] <= done <= high[final]:
        return -np.inf, np.empty(0, np.int64)
    if adds_up:
        return best[final, done], np.empty(0, np.int64)
    path = np.empty(num_states, np.int64)
    first, state = num_states, final
    while state != 0:
        arc = entering[state, done]
        first -= 1
        path[first] = arc
        if graph_arc[arc] >= 0:
            done -= said_splits[graph_arc[arc] + 1] - said_splits[graph_arc[arc]]
        state = source[arc]
    return best[final, size - 1], path[first:].copy()


@compiled
def _widen(best: Float64Array, low: Int64Array, high: Int64Array, state: int, done: int) -> None:
    """Add ``done`` to the numbers with which a state has been reached."""
    if high[state] < low[state]:
        low[state], high[state] = done, done
        best[done] = -np.inf
    while low[state] > done:
        low[state] -= 1
        best[low[state]] = -np.inf
    while high[state] < done:
        high[state] += 1
        best[high[state]] = -np.inf
