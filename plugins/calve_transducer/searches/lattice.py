"""The lattice of a frame-synchronous search on a graph: the paths that were kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calve_transducer.compilation import compiled

__all__ = ["Lattice", "best_path"]

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lattice:
    """An acyclic graph in which every path from the start takes one arc for each encoder frame.

    State 0 is the start and the last state the only final one. Arcs lead to states of higher
    numbers and are sorted by the states that they leave.

    Attributes:
      source: (A,) int32, the states that the arcs leave.
      destination: (A,) int32, the states that they enter.
      graph_arc: (A,) int32, the arcs of the decoding graph; -1 for the blank's.
      score: (A,) float32, log probabilities; 0 for arcs into the final state.
      num_states: States; 0 if no frame has been consumed.
    """

    source: Int32Array
    destination: Int32Array
    graph_arc: Int32Array
    score: Float32Array
    num_states: int


def best_path(lattice: Lattice) -> tuple[Int64Array, float] | None:
    """Return the arcs of the best path, one per frame, and its score; None if none is complete."""
    if not lattice.num_states:
        return None
    path, score = _best_path(lattice.source, lattice.destination, lattice.score, lattice.num_states)
    return (path, score) if len(path) else None


@compiled
def _best_path(
    source: Int32Array, destination: Int32Array, score: Float32Array, num_states: int
) -> tuple[Int64Array, float]:
    best = np.full(num_states, -np.inf)
    best[0] = 0.0
    entering = np.full(num_states, -1, np.int64)
    for arc in range(len(source)):
        reached = best[source[arc]] + np.float64(score[arc])
        if reached >= best[destination[arc]] and reached > -np.inf:
            best[destination[arc]], entering[destination[arc]] = reached, arc
    length, state = 0, num_states - 1
    while state != 0 and entering[state] >= 0:
        length, state = length + 1, source[entering[state]]
    path = np.empty(length, np.int64)
    state = num_states - 1
    for place in range(length - 1, -1, -1):
        path[place] = entering[state]
        state = source[path[place]]
    return path, best[num_states - 1]
