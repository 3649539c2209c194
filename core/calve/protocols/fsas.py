"""FSA backends, which walk through decoding graphs."""

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
    """A driver in the namespace ``calve.fsa_backends`` that walks through a decoding graph.

    The graph has G states and A arcs. The arcs of a state are adjacent. State 0 is the start, and
    the last state is the only final state. At every frame, a stream is in a few *states*: pairs of
    a context (its latest symbols) and a graph state. In each of them, unless it is final, a blank
    stays in the state and an arc leads to another one. The arcs and states that survive a frame are
    the same as in k2's ``RnntDecodingStreams``:

    1. Arcs with a label above 0, if the score that they reach is within ``beam`` of the best score
       before the frame. The same applies to arcs into the final state; this comparison excludes the
       log probability of the blank, which they also cost. Blanks and arcs with label 0 always
       survive.
    2. Of the states that these reach, those within ``beam`` of the best, at most ``max_states``.
       The score of a state is the best score of an arc into it.
    3. Of these, the states in the best contexts, at most ``max_contexts``. The score of a context
       is the score of its best state.

    A backend that runs in another process may have an attribute ``seconds``, its CPU time there.
    ``calve bench-search --against`` reads it.

    Args:
      arc_splits: (G + 1,) int32; the arcs of state s are ``arc_splits[s] : arc_splits[s + 1]``.
      destination: (A,) int32, states that the arcs lead to.
      label: (A,) int32, symbols; -1 for arcs into the final state, 0 for arcs without a symbol.
      score: (A,) float32, log probabilities.
      vocab_size: Number of symbols that the networks score; 0 is the blank.
      context_size: Number of symbols in a context.
      beam: Largest difference from the best log probability.
      max_contexts: Largest number of contexts of one stream.
      max_states: Largest number of states of one stream.
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
        """Return a new stream in the start state, with a context of blanks; opaque to callers."""

    def walk(self, streams: Sequence[Any]) -> FsaWalk:
        """Start a walk of several streams together; each stream occurs at most once.

        The streams change when the walk is finished. A walk that is never finished leaves them
        unchanged or unusable.
        """

    def lattice(self, stream: Any, *, allow_partial: bool) -> LatticeColumns:
        """Return all surviving paths through the frames so far, as an acyclic graph.

        Every path has one arc for each frame. The arcs of the last frame are those that entered the
        graph's final state; if there are none and ``allow_partial`` is true, all surviving arcs.
        They lead into the lattice's final state and score 0. A path may also end before the last
        frame.

        Returns:
          source: (L,) int32, the states that the arcs leave, in ascending order; 0 is the start.
          destination: (L,) int32, the states that they enter, of higher numbers.
          graph_arc: (L,) int32, the arcs of the decoding graph; -1 for the blank's.
          score: (L,) float32, log probabilities, including those of the graph's arcs.
          num_states: Number of states, the last one final; 0 if the stream has no frame yet.
        """


class FsaWalk(Protocol):
    """Walk of several streams through a graph. For each frame, call `contexts`, then `advance`."""

    def contexts(self, active: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the contexts that the networks must score for the next frame.

        Args:
          active: (N,), indices of the streams that have a next frame, ascending. A stream that is
            missing once must not occur again.

        Returns:
          owners: (R,), the stream of each context; ascending.
          contexts: (R, context_size), without repetition within a stream.
        """

    def advance(self, log_probs: Float32Array) -> None:
        """Advance the active streams by one frame, with the log probabilities (R, vocab_size)."""

    def finish(self) -> None:
        """End the walk and update the streams."""
