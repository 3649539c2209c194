"""What a chunk knows of the chunks before it.

A layer asks for the past of a chunk by name and hands over what is new. It does not learn whether
it works on one chunk of a stream or on all chunks of whole utterances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Past(Protocol):
    """The past of the chunks at hand."""

    def before(self, name: str, new: Tensor, axis: int = 1) -> Tensor:
        """The last frames before each chunk.

        Args:
          name: Of the state that holds them at the start of a stream.
          new: What each chunk adds, one chunk a row; ``axis`` counts frames.

        Returns:
          As many frames as the state has, for each row.
        """


class PastOfOneChunk:
    """A step of N streams: rows are streams, and the past is in the states."""

    def __init__(self, states: Mapping[str, Tensor]) -> None:
        self.states = states
        self.next_states: dict[str, Tensor] = {}

    def before(self, name: str, new: Tensor, axis: int = 1) -> Tensor:
        past = self.states[name]
        line = torch.cat((past, new), axis)
        # Not narrow, which pnnx does not know.
        self.next_states[name] = line[(slice(None),) * axis + (slice(new.size(axis), None),)]
        return past


class PastOfAllChunks:
    """Whole utterances: the rows of one utterance are its chunks, in order."""

    def __init__(self, states: Mapping[str, Tensor]) -> None:
        self.states = states

    def before(self, name: str, new: Tensor, axis: int = 1) -> Tensor:
        past = self.states[name]
        chunks = new.unflatten(0, (past.size(0), -1)).movedim(1, axis).flatten(axis, axis + 1)
        line = torch.cat((past, chunks), axis)
        # One window for each chunk, and one for a chunk that would follow.
        windows = line.unfold(axis, past.size(axis), new.size(axis)).movedim(axis, 1)[:, :-1]
        return windows.flatten(0, 1).movedim(-1, axis)
