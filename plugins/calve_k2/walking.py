"""Walking through decoding graphs on k2: the driver ``k2`` of ``calve.fsa_backends``.

This module imports torch and k2 alone, so that it can be run where calve does not: the last wheel
of k2 on PyPI wants Python 3.9 and torch 1.12. Arrays come and go as numpy's, through torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import k2
import torch

__all__ = ["K2Walker"]


class K2Walker:
    """What `calve_transducer.searches.walking.GraphWalker` does, on ``k2.RnntDecodingStreams``.

    Args:
      arc_splits, destination, label, score: The graph; see `calve_graphs.graph.DecodingGraph`.
      vocab_size: Symbols that the networks score.
      context_size: Symbols that the decoder sees.
      beam: How far below the best a log probability may be.
      max_contexts: Most contexts of one stream.
      max_states: Most states, pairs of a context and a state of the graph, of one stream.
    """

    def __init__(
        self,
        arc_splits: Any,
        destination: Any,
        label: Any,
        score: Any,
        *,
        vocab_size: int,
        context_size: int,
        beam: float,
        max_contexts: int,
        max_states: int,
    ) -> None:
        counts = torch.from_numpy(arc_splits).diff().long()
        source = torch.arange(len(counts)).repeat_interleave(counts).int()
        columns = [source, *map(torch.from_numpy, (destination, label))]
        arcs = torch.stack([*columns, torch.from_numpy(score).view(torch.int32)], dim=1)
        self.graph = k2.Fsa(arcs)
        # The lattice then says of every arc where in the graph it comes from.
        self.graph.graph_arc = torch.arange(1, len(arcs) + 1, dtype=torch.int32)
        self.config = k2.RnntDecodingConfig(
            vocab_size=vocab_size,
            decoder_history_len=context_size,
            beam=beam,
            max_contexts=max_contexts,
            max_states=max_states,
        )

    def start(self) -> K2Stream:
        """A new stream, in the graph's first state; its context is all blanks."""
        return K2Stream(k2.RnntDecodingStream(self.graph))

    def walk(self, streams: Sequence[K2Stream]) -> K2Walk:
        """Take streams on together; they change when the walk is finished."""
        return K2Walk(self.config, streams)

    def lattice(self, stream: K2Stream, *, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """The columns of a `calve_transducer.searches.lattice.Lattice`."""
        if not stream.frames:
            nothing = torch.zeros(0, dtype=torch.int32).numpy()
            return nothing, nothing, nothing, torch.zeros(0).numpy(), 0
        # k2 gives lattices only to a group that has been taken on and is finished.
        lengths = [member.frames for member in stream.members]
        lattices = stream.group.format_output(lengths, allow_partial=allow_partial)
        lattice = lattices[stream.members.index(stream)]
        arcs = lattice.arcs.values()
        return (
            arcs[:, 0].contiguous().numpy(),
            arcs[:, 1].contiguous().numpy(),
            (lattice.graph_arc.int() - 1).numpy(),
            lattice.scores.detach().numpy(),
            lattice.shape[0],
        )


class K2Stream:
    """A stream, how many frames it has consumed, and the group that took it there last."""

    def __init__(self, decoding: Any) -> None:
        self.decoding = decoding
        self.frames = 0
        self.group: Any = None
        self.members: list[K2Stream] = []


class K2Walk:
    """Some streams on their way.

    k2 takes a group of streams on together. A new group is made when a stream leaves it.
    """

    def __init__(self, config: Any, streams: Sequence[K2Stream]) -> None:
        self._config = config
        self._streams = streams
        self._active: Any = None
        self._group: Any = None

    def contexts(self, active: Any) -> tuple[Any, Any]:
        """The stream of each context (R,), and the contexts (R, context_size)."""
        if self._active is None or len(active) != len(self._active):
            self.finish()
            self._active = active
            chosen = [self._streams[index].decoding for index in active.tolist()]
            self._group = k2.RnntDecodingStreams(chosen, self._config)
        shape, contexts = self._group.get_contexts()
        return active[shape.row_ids(1).long().numpy()], contexts.long().numpy()

    def advance(self, log_probs: Any) -> None:
        """Take the streams one frame on, with the log probabilities (R, vocab_size)."""
        self._group.advance(torch.from_numpy(log_probs))
        for index in self._active.tolist():
            self._streams[index].frames += 1

    def finish(self) -> None:
        """Let the streams know where they are."""
        if self._group is None:
            return
        self._group.terminate_and_flush_to_streams()
        members = [self._streams[index] for index in self._active.tolist()]
        for stream in members:
            stream.group, stream.members = self._group, members
        self._group = self._active = None
