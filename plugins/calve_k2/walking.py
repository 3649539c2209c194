"""Walking through decoding graphs on k2: the driver ``k2`` of ``calve.fsa_backends``.

This module imports torch and k2 alone, so that it can be run where calve does not: the last wheel
of k2 on PyPI wants Python 3.9 and torch 1.12. Arrays come and go as numpy's, through torch.
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
        """Take streams on together.

        Raises:
          RuntimeError: if a stream was left behind by a walk that broke off.
        """
        for stream in streams:
            stream.check()
        return K2Walk(self.config, streams)

    def lattice(self, stream: K2Stream, *, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """The paths that are left; see `calve.protocols.FsaBackend`."""
        stream.check()
        if stream.group is None:
            nothing = torch.zeros(0, dtype=torch.int32).numpy()
            return nothing, nothing, nothing, torch.zeros(0).numpy(), 0
        return stream.group.lattice(stream, allow_partial)


class K2Stream:
    """A stream, how many frames it has consumed, and the group that took it there last."""

    def __init__(self, decoding: Any) -> None:
        self.decoding = decoding
        self.frames = 0
        self.group: Group | None = None
        self.is_under_way = False

    def check(self) -> None:
        """Refuse a stream that is somewhere within a walk."""
        if self.is_under_way:
            raise RuntimeError("a walk took this stream on and broke off: start a new stream")


class K2Walk:
    """Some streams on their way.

    k2 takes a group of streams on together, so that a new group is made when a stream stays behind.
    From then on k2 has no way back to where the walk began.
    """

    def __init__(self, config: Any, streams: Sequence[K2Stream]) -> None:
        self._config = config
        self._streams = streams
        self._active: Any = None
        self._group: Group | None = None

    def contexts(self, active: Any) -> tuple[Any, Any]:
        """The stream of each context (R,), and the contexts (R, context_size)."""
        if self._active is None or len(active) != len(self._active):
            if self._group is not None:
                self._group.finish()
                for stream in self._streams:
                    stream.is_under_way = True
            self._active = active
            self._group = Group(self._config, [self._streams[index] for index in active.tolist()])
        shape, contexts = self._group.decoding.get_contexts()
        return active[shape.row_ids(1).long().numpy()], contexts.long().numpy()

    def advance(self, log_probs: Any) -> None:
        """Take the streams one frame on, with the log probabilities (R, vocab_size)."""
        self._group.advance(torch.from_numpy(log_probs))

    def finish(self) -> None:
        """Let the streams know where they are."""
        if self._group is not None:
            self._group.finish()
        for stream in self._streams:
            stream.is_under_way = False


class Group:
    """Streams that k2 takes on together, for as long as none of them stays behind."""

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
        """Let the streams know where they are; the group then gives their lattices."""
        if not self._frames:
            return
        self.decoding.terminate_and_flush_to_streams()
        for stream in self._streams:
            stream.frames += self._frames
            stream.group = self
        self._lengths = [stream.frames for stream in self._streams]

    def lattice(self, stream: K2Stream, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """What is known of a stream where the group left it; k2 makes all lattices at once."""
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
