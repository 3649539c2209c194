"""The FSA backend on k2: the driver ``k2`` of ``calve.fsa_backends``.

This module imports only torch and k2, so that it can run in environments without calve: the last
wheel of k2 on PyPI requires Python 3.9 and torch 1.12. Arrays are numpy arrays, converted by
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import k2
import torch

__all__ = ["K2Stream", "K2Walk", "K2Walker"]


class K2Walker:
    """A `calve.protocols.FsaBackend` on ``k2.RnntDecodingStreams``.

    Args:
      arc_splits, destination, label, score: The graph.
      vocab_size: Number of symbols that the networks score.
      context_size: Number of symbols in the decoder's context.
      beam: Largest difference from the best log probability.
      max_contexts: Largest number of contexts of one stream.
      max_states: Largest number of states (pairs of a context and a graph state) of one stream.
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
        # The lattice then has the graph arc of every arc.
        self.graph.graph_arc = torch.arange(1, len(arcs) + 1, dtype=torch.int32)
        self.config = k2.RnntDecodingConfig(
            vocab_size=vocab_size,
            decoder_history_len=context_size,
            beam=beam,
            max_contexts=max_contexts,
            max_states=max_states,
        )

    def start(self) -> K2Stream:
        """Return a new stream in the graph's first state; its context consists of blanks."""
        return K2Stream(k2.RnntDecodingStream(self.graph))

    def walk(self, streams: Sequence[K2Stream]) -> K2Walk:
        """Begin a walk of several streams.

        Raises:
          RuntimeError: if a failed walk left a stream behind.
        """
        for stream in streams:
            stream.check()
        return K2Walk(self.config, streams)

    def lattice(self, stream: K2Stream, *, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """Return the surviving paths; see `calve.protocols.FsaBackend`."""
        stream.check()
        if stream.group is None:
            nothing = torch.zeros(0, dtype=torch.int32).numpy()
            return nothing, nothing, nothing, torch.zeros(0).numpy(), 0
        return stream.group.lattice(stream, allow_partial)


class K2Stream:
    """A stream: the number of consumed frames, and the last group that advanced it."""

    def __init__(self, decoding: Any) -> None:
        self.decoding = decoding
        self.frames = 0
        self.group: Group | None = None
        self.is_under_way = False

    def check(self) -> None:
        """Reject a stream that is in the middle of a walk."""
        if self.is_under_way:
            raise RuntimeError("a walk with this stream was not finished: start a new stream")


class K2Walk:
    """Walk of several streams.

    k2 advances a group of streams together, so a new group is made when a stream stays behind. From
    then on k2 cannot return to the start of the walk.
    """

    def __init__(self, config: Any, streams: Sequence[K2Stream]) -> None:
        self._config = config
        self._streams = streams
        self._active: Any = None
        self._group: Group | None = None

    def contexts(self, active: Any) -> tuple[Any, Any]:
        """Return the stream of each context (R,), and the contexts (R, context_size)."""
        if self._active is None or len(active) != len(self._active):
            if self._group is not None:
                self._group.finish()
                for stream in self._streams:
                    stream.is_under_way = True
            self._active = active
            self._group = Group(self._config, [self._streams[index] for index in active.tolist()])
        assert self._group is not None
        shape, contexts = self._group.decoding.get_contexts()
        return active[shape.row_ids(1).long().numpy()], contexts.long().numpy()

    def advance(self, log_probs: Any) -> None:
        """Take the streams one frame on, with the log probabilities (R, vocab_size)."""
        assert self._group is not None, "`contexts` comes first"
        self._group.advance(torch.from_numpy(log_probs))

    def finish(self) -> None:
        """Store the new positions in the streams."""
        if self._group is not None:
            self._group.finish()
        for stream in self._streams:
            stream.is_under_way = False


class Group:
    """Streams that k2 advances together until one of them stays behind."""

    def __init__(self, config: Any, streams: Sequence[K2Stream]) -> None:
        self.decoding = k2.RnntDecodingStreams([one.decoding for one in streams], config)
        self._streams = streams
        self._frames = 0
        self._lengths: list[int] = []
        self._lattices: dict[bool, Any] = {}

    def advance(self, log_probs: Any) -> None:
        """Take the streams one frame on, with the log probabilities (R, vocab_size)."""
        self.decoding.advance(log_probs)
        self._frames += 1

    def finish(self) -> None:
        """Update the streams; the group then provides their lattices."""
        if not self._frames:
            return
        self.decoding.terminate_and_flush_to_streams()
        for stream in self._streams:
            stream.frames += self._frames
            stream.group = self
        self._lengths = [stream.frames for stream in self._streams]

    def lattice(self, stream: K2Stream, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """Return the lattice of a stream at the end of the group; k2 creates all at once."""
        if allow_partial not in self._lattices:
            self._lattices[allow_partial] = self.decoding.format_output(
                self._lengths, allow_partial=allow_partial
            )
        lattice = self._lattices[allow_partial][self._streams.index(stream)]
        arcs = lattice.arcs.values()
        return (
            arcs[:, 0].clone().numpy(),
            arcs[:, 1].clone().numpy(),
            (lattice.graph_arc.int() - 1).numpy(),
            lattice.scores.detach().clone().numpy(),
            lattice.shape[0],
        )
