"""Encoder frames of many streams in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import DataError

__all__ = ["join_frames", "not_a_number", "refuse_nan"]

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


def join_frames(
    streams: Sequence[Any], encoder_out: Sequence[Float32Array]
) -> tuple[Float32Array, Int64Array]:
    """Concatenate the frames of all streams.

    Args:
      streams: The streams.
      encoder_out: One array (T', D) for each.

    Returns:
      The frames (sum of T', D), and T' of each stream.

    Raises:
      DataError: if there is not one array for each stream, or they have other shapes.
    """
    if len(streams) != len(encoder_out):
        raise DataError(f"{len(streams)} streams cannot share {len(encoder_out)} arrays of frames")
    for number, frames in enumerate(encoder_out):
        if frames.ndim != 2 or frames.shape[1] != encoder_out[0].shape[-1]:
            raise DataError(
                f"the encoder frames have the shape {frames.shape}",
                where=f"stream {number}",
                fix="give (frames, dimension), with the same dimension for all streams",
            )
    lengths = np.array([len(frames) for frames in encoder_out], dtype=np.int64)
    if len(encoder_out) == 1:
        return np.ascontiguousarray(encoder_out[0]), lengths
    return np.concatenate(encoder_out), lengths


def refuse_nan(streams: Sequence[Any], encoder_out: Sequence[Float32Array]) -> None:
    """Check that the frames (T', D) of no stream contain NaN.

    Raises:
      DataError: if there is one.
    """
    for number, frames in enumerate(encoder_out):
        is_broken = np.isnan(frames).any(axis=1)
        if is_broken.any():
            raise not_a_number(number, streams[number].frames + int(is_broken.argmax()))


def not_a_number(stream: int, frame: int) -> DataError:
    """Return the error for scores that are NaN or infinite at a frame of a stream."""
    return DataError(
        "the outputs of the networks are NaN or infinite",
        where=f"stream {stream}, encoder frame {frame}",
        fix="look for NaN in the recording's features and in the model's weights",
    )
