"""Helpers for encoder states: select streams, join batches, test whether an encoder streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.errors import ConfigError

__all__ = ["Axes", "join_states", "select_states", "stream_axis", "streaming_obstacle"]

Float32Array = NDArray[np.float32]
Axes = Mapping[str, int] | int
"""The axis of the streams: by name of the state, or one for all states."""


def select_states(
    states: Mapping[str, Float32Array], rows: Sequence[int], axes: Axes
) -> dict[str, Float32Array]:
    """Return the states of the streams in ``rows``, in that order."""
    index = np.asarray(rows, dtype=np.intp)
    return {
        name: np.ascontiguousarray(state.take(index, axis=stream_axis(axes, name)))
        for name, state in states.items()
    }


def join_states(parts: Sequence[Mapping[str, Float32Array]], axes: Axes) -> dict[str, Float32Array]:
    """Join the states of at least one group of streams into one batch."""
    return {
        name: np.concatenate([part[name] for part in parts], axis=stream_axis(axes, name))
        for name in parts[0]
    }


def streaming_obstacle(encoder: Any) -> ConfigError | None:
    """Return the reason why a `calve.protocols.StreamingEncoder`, or its session, cannot stream.

    Returns:
      The error that it raises instead of returning states; None if it can stream.
    """
    try:
        encoder.init_states(1)
    except ConfigError as error:
        return error
    return None


def stream_axis(axes: Axes, name: str) -> int:
    """Return the axis of the streams in the state ``name``."""
    return axes if isinstance(axes, int) else axes[name]
