"""Encoder states: whether there are any, and those of many streams, in and out of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.errors import ConfigError

__all__ = ["Axes", "join_states", "select_states", "stream_axis", "streaming_obstacle"]

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


def streaming_obstacle(encoder: Any) -> ConfigError | None:
    """Why a `calve.protocols.StreamingEncoder`, or a session on one, cannot stream.

    Returns:
      What it raises instead of giving states; None if it can stream.
    """
    try:
        encoder.init_states(1)
    except ConfigError as error:
        return error
    return None


def stream_axis(axes: Axes, name: str) -> int:
    """The axis that counts streams in the state ``name``."""
    return axes if isinstance(axes, int) else axes[name]
