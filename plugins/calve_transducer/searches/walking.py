"""calve's own FSA backend: walks streams through a decoding graph, frame by frame.

It gives the results of k2. k2 cannot be a requirement: its last wheel on PyPI needs Python 3.9,
which calve does not support. `calve_k2` is another backend for environments with k2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calve.protocols import LatticeColumns
from calve_transducer.searches.frontier import GraphArrays, Limits, list_contexts, walk_frame

__all__ = ["GraphWalk", "GraphWalker", "WalkingStream"]

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

_FINAL = -1


@dataclass
class _Frames:
    """Arcs of some frames; states are numbered within their frame.

    Attributes:
      num_states: (F,), number of states after each frame.
      num_arcs: (F,), number of arcs of each frame.
      arcs: (n, 3) int32: source, destination, arc of the graph.
      scores: (n,) float32.
    """

    num_states: Int64Array
    num_arcs: Int64Array
    arcs: Int32Array
    scores: Float32Array


@dataclass
class WalkingStream:
    """Position of a stream in the graph, and its history.

    Attributes:
      keys: Its states; see `calve_transducer.searches.frontier`.
      scores: Their log probabilities.
      history: The frames so far, in blocks.
    """

    keys: Int64Array
    scores: Float64Array
    history: list[_Frames] = field(default_factory=list)


class GraphWalker:
    """A `calve.protocols.FsaBackend` of our own, compiled.

    Args:
      arc_splits, destination, label, score: The graph; see `calve_graphs.graph.DecodingGraph`.
      vocab_size: Number of symbols that the networks score.
      context_size: Number of symbols that the decoder sees.
      beam: Largest difference from the best log probability.
      max_contexts: Largest number of contexts of one stream.
      max_states: Largest number of states (pairs of a context and a graph state) of one stream.
    """

    def __init__(
        self,
        arc_splits: Int32Array,
        destination: Int32Array,
        label: Int32Array,
        score: Float32Array,
        *,
        vocab_size: int,
        context_size: int,
        beam: float,
        max_contexts: int,
        max_states: int,
    ) -> None:
        self.graph = GraphArrays(arc_splits, destination, label, score)
        self.limits = Limits(
            float(beam), max_contexts, max_states, vocab_size, vocab_size ** (context_size - 1)
        )
        self.context_size = context_size

    def start(self) -> WalkingStream:
        """Return a new stream in the graph's first state; its context consists of blanks."""
        return WalkingStream(np.zeros(1, np.int64), np.zeros(1, np.float64))

    def walk(self, streams: Sequence[WalkingStream]) -> GraphWalk:
        """Begin a walk of several streams; the streams change when the walk is finished."""
        return GraphWalk(self, streams)

    def lattice(self, stream: WalkingStream, *, allow_partial: bool) -> LatticeColumns:
        """Return the lattice of all paths that were kept so far."""
        history = stream.history = _one_piece(stream.history)
        if not history:
            nothing = np.zeros(0, np.int32)
            return nothing, nothing, nothing, np.zeros(0, np.float32), 0
        (frames,) = history
        offsets = np.concatenate([[0, 1], 1 + frames.num_states.cumsum()])
        source, destination, graph_arc = frames.arcs.T
        frame = np.repeat(np.arange(len(frames.num_arcs)), frames.num_arcs)
        is_last = frame == len(frames.num_arcs) - 1
        enters_final = (graph_arc >= 0) & (self.graph.label[graph_arc] == _FINAL)
        if allow_partial and not (enters_final & is_last).any():
            enters_final |= is_last
        kept = enters_final == is_last
        final = offsets[-2]
        destination = np.where(is_last, final, offsets[frame + 1] + destination)
        return (
            (offsets[frame] + source)[kept].astype(np.int32),
            destination[kept].astype(np.int32),
            graph_arc[kept],
            np.where(is_last, np.float32(0.0), frames.scores)[kept],
            int(final) + 1,
        )


class GraphWalk:
    """A walk of N streams."""

    def __init__(self, walker: GraphWalker, streams: Sequence[WalkingStream]) -> None:
        self._walker = walker
        self._streams = streams
        shape = (len(streams), max(walker.limits.max_states, 1))
        self._keys = np.zeros(shape, np.int64)
        self._scores = np.zeros(shape, np.float64)
        self._counts = np.array([len(stream.keys) for stream in streams], np.int64)
        for row, stream in enumerate(streams):
            self._keys[row, : len(stream.keys)] = stream.keys
            self._scores[row, : len(stream.keys)] = stream.scores
        self._active = np.arange(len(streams))
        self._rows = np.zeros(shape, np.int64)
        self._lengths = np.zeros(len(streams), np.int64)
        self._num_states: list[Int64Array] = []
        self._frames: list[tuple[Int32Array, Float32Array]] = []

    def contexts(self, active: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the contexts that the networks must score for the next frame.

        Args:
          active: (A,), the streams that have a next frame, in ascending order.

        Returns:
          The stream of each context (R,), and the contexts (R, context_size).
        """
        self._active = active
        limits = self._walker.limits
        owners, numbers, self._rows = list_contexts(
            self._keys, self._counts, active, len(self._walker.graph.arc_splits) - 1
        )
        powers = limits.vocab_size ** np.arange(self._walker.context_size - 1, -1, -1)
        return owners, numbers[:, np.newaxis] // powers % limits.vocab_size

    def advance(self, log_probs: Float32Array) -> None:
        """Advance the streams by one frame, with the log probabilities (R, vocab_size)."""
        walker = self._walker
        self._frames.append(
            walk_frame(
                walker.graph,
                walker.limits,
                self._active,
                self._keys,
                self._scores,
                self._counts,
                self._rows,
                log_probs,
            )
        )
        self._num_states.append(self._counts.copy())
        self._lengths[self._active] += 1

    def finish(self) -> None:
        """Store the new positions in the streams."""
        if not self._frames:
            return
        arcs = np.concatenate([frame for frame, _ in self._frames])
        scores = np.concatenate([score for _, score in self._frames])
        frame_of_arc = np.repeat(
            np.arange(len(self._frames)), [len(frame) for frame, _ in self._frames]
        )
        order = np.argsort(arcs[:, 0], kind="stable")
        splits = np.searchsorted(arcs[order, 0], np.arange(len(self._streams) + 1))
        num_states = np.stack(self._num_states)
        for row, stream in enumerate(self._streams):
            length = self._lengths[row]
            if not length:
                continue
            mine = order[splits[row] : splits[row + 1]]
            num_arcs = np.bincount(frame_of_arc[mine], minlength=length)
            stream.history.append(
                _Frames(num_states[:length, row], num_arcs, arcs[mine, 1:], scores[mine])
            )
            stream.keys = self._keys[row, : self._counts[row]].copy()
            stream.scores = self._scores[row, : self._counts[row]].copy()


def _one_piece(history: Sequence[_Frames]) -> list[_Frames]:
    if len(history) < 2:
        return list(history)
    return [
        _Frames(
            np.concatenate([one.num_states for one in history]),
            np.concatenate([one.num_arcs for one in history]),
            np.concatenate([one.arcs for one in history]),
            np.concatenate([one.scores for one in history]),
        )
    ]
