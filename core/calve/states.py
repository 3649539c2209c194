"""Encoder states of many streams in one batch: taking some of them out, putting more of them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axes", "join_states", "select_states", "stream_axis"]

Float32Array = NDArray[np.float32]
Axes = Mapping[str, int] | int
"""The axis that counts streams: by state, or the same for all."""


def select_states(
    states: Mapping[str, Float32Array], rows: Sequence[int], axes: Axes
) -> dict[str, Float32Array]:
    """The states of the streams in ``rows``, in that order."""
    index = np.asarray(rows, dtype=np.intp)
    return {
        name: np.ascontiguousarray(state.take(index, axis=stream_axis(axes, name)))
        for name, state in states.items()
    }


def join_states(parts: Sequence[Mapping[str, Float32Array]], axes: Axes) -> dict[str, Float32Array]:
    """The states of several groups of streams as those of one group; there is at least one."""
    return {
        name: np.concatenate([part[name] for part in parts], axis=stream_axis(axes, name))
        for name in parts[0]
    }


def stream_axis(axes: Axes, name: str) -> int:
    """The axis that counts streams in the state ``name``."""
    return axes if isinstance(axes, int) else axes[name]
