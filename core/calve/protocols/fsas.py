"""Walking through decoding graphs, which are finite state acceptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FsaBackend", "FsaWalk", "LatticeColumns"]

Float32Array: TypeAlias = "NDArray[np.float32]"

LatticeColumns: TypeAlias = (
    "tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], int]"
)
"""source, destination, graph_arc, score and num_states; see `FsaBackend.lattice`."""


class FsaBackend(Protocol):
    """A driver in the namespace ``calve.fsa_backends``: it walks through a decoding graph.

    The graph has G states and A arcs, those of one state next to one another. State 0 is the start,
    the last state the only final one. At every frame a stream is in a few *states*, pairs of a
    context (its latest symbols) and a state of the graph. From each, unless it is final, a blank
    leads back to it and the graph's arcs lead on. What survives a frame is what survives in k2's
    ``RnntDecodingStreams``:

    1. an arc with a label above 0, if the score that it reaches is within ``beam`` of the best
       score before the frame; one into the final state too, not counting the blank, whose log
       probability it also costs; blanks, and arcs with label 0, always;
    2. of the states that these reach, each as good as the best way to it, those within ``beam`` of
       the best, at most ``max_states``;
    3. of these, those in the best contexts, at most ``max_contexts``; a context is as good as its
       best state.

    A backend that works in another process may have an attribute ``seconds``, the CPU time that it
    has taken there, which ``calve bench-search --against`` reads.

    Args:
      arc_splits: (G + 1,) int32; the arcs of state s are ``arc_splits[s] : arc_splits[s + 1]``.
      destination: (A,) int32, states that the arcs lead to.
      label: (A,) int32, symbols; -1 for arcs into the final state, 0 for arcs without a symbol.
      score: (A,) float32, log probabilities.
      vocab_size: Symbols that the networks score; 0 is the blank.
      context_size: Symbols in a context.
      beam: How far below the best a log probability may be.
      max_contexts: Most contexts of one stream.
      max_states: Most states of one stream.
    """

    def __init__(
        self,
        arc_splits: NDArray[np.int32],
        destination: NDArray[np.int32],
        label: NDArray[np.int32],
        score: NDArray[np.float32],
        *,
        vocab_size: int,
        context_size: int,
        beam: float,
        max_contexts: int,
        max_states: int,
    ) -> None: ...

    def start(self) -> Any:
        """A new stream, opaque to everyone else: in the graph's start, its context all blanks."""

    def walk(self, streams: Sequence[Any]) -> FsaWalk:
        """Take streams, each at most once, some frames on together.

        They change when the walk is finished. One that is never finished leaves them as they were,
        or unusable.
        """

    def lattice(self, stream: Any, *, allow_partial: bool) -> LatticeColumns:
        """All paths through the frames so far that survived: an acyclic graph.

        Every path takes one arc for each frame. Arcs of the last frame are those that entered the
        graph's final state in it; if there are none, and ``allow_partial``, all that survived. They
        lead into the lattice's final state and score 0. A path may also end before the last frame.

        Returns:
          source: (L,) int32, the states that the arcs leave, in ascending order; 0 is the start.
          destination: (L,) int32, the states that they enter, of higher numbers.
          graph_arc: (L,) int32, the arcs of the decoding graph; -1 for the blank's.
          score: (L,) float32, log probabilities, those of the graph's arcs included.
          num_states: States, the last one final; 0 if the stream has no frame yet.
        """


class FsaWalk(Protocol):
    """Some streams on their way through a graph, frame by frame: `contexts`, then `advance`."""

    def contexts(self, active: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What the networks must score for the next frame.

        Args:
          active: (N,), indices of the streams that have a next frame, ascending. One that is
            missing does not come back.

        Returns:
          owners: (R,), the stream of each context; ascending.
          contexts: (R, context_size), each once for a stream.
        """

    def advance(self, log_probs: Float32Array) -> None:
        """Take the active streams one frame on, with the log probabilities (R, vocab_size)."""

    def finish(self) -> None:
        """Let the streams know where they are; the walk is over."""
