"""What came before a chunk.

A layer hands over what a chunk adds and is given what was there before. It does not learn whether
it works on one chunk of a stream or on all chunks of whole utterances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


class Past(Protocol):
    """What came before each of the chunks at hand; a chunk is a row."""

    def before(self, name: str, new: Tensor, axis: int = 1) -> Tensor:
        """As many frames as the state ``name`` holds, the last ones before each chunk.

        Args:
          new: The frames that each chunk adds; ``axis`` counts them.
        """


class PastOfOneChunk:
    """A step of N streams: N rows, and the states are the past."""

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
    """Whole utterances: the chunks of one are rows that follow each other."""

    def __init__(self, states: Mapping[str, Tensor]) -> None:
        self.states = states

    def before(self, name: str, new: Tensor, axis: int = 1) -> Tensor:
        past = self.states[name]
        chunks = new.unflatten(0, (past.size(0), -1)).movedim(1, axis).flatten(axis, axis + 1)
        line = torch.cat((past, chunks), axis)
        # One window for each chunk, and one for a chunk that would follow.
        windows = line.unfold(axis, past.size(axis), new.size(axis)).movedim(axis, 1)[:, :-1]
        return windows.flatten(0, 1).movedim(-1, axis)
