"""Streaming geometry: the steps of an encoder over feature frames."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, field, replace
from typing import Any

from calve.common.ranges import Range, check_ranges
from calve.errors import ConfigError

__all__ = ["FLUSH_FRAMES", "StreamingGeometry", "tail_padding"]


FLUSH_FRAMES = 35
"""Frames of silence after which a streaming transducer has emitted its last word (icefall)."""


def _frames(minimum: int, maximum: int, *, default: Any = MISSING) -> Any:
    return field(default=default, metadata={"range": Range(minimum, maximum)})


@dataclass(frozen=True)
class StreamingGeometry:
    """The steps of a streaming encoder over feature frames.

    One step reads a *segment* of ``shift + overlap`` frames, then advances by ``shift``.

    Attributes:
      shift: Feature frames advanced per step; a multiple of ``subsampling_factor``.
      overlap: Feature frames that a step reads beyond its shift and that the next step reads
        again (the front end's receptive field, plus right context).
      subsampling_factor: Feature frames per encoder output frame.
      left_context: Past encoder frames that a step may attend to; 0 for a recurrent encoder.
      right_context: Future encoder frames that a step attends to.
      step_overlap: The part of ``overlap`` that steps lose and a whole utterance does not. A whole
        utterance of T feature frames gives (T - overlap + step_overlap) // subsampling_factor.
      dynamic: Whether one exported network supports every valid shift, or only this one.
      frame_shift_ms: Milliseconds between two feature frames.
    """

    shift: int = _frames(1, 60_000)
    overlap: int = _frames(0, 10_000)
    subsampling_factor: int = _frames(1, 64)
    left_context: int = _frames(0, 10_000, default=0)
    right_context: int = _frames(0, 10_000, default=0)
    step_overlap: int = _frames(0, 10_000, default=0)
    dynamic: bool = True
    frame_shift_ms: int = _frames(1, 1000, default=10)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.step_overlap > self.overlap:
            raise ConfigError(f"impossible streaming geometry: {asdict(self)}")
        if self.shift < 1 or self.shift % self.subsampling_factor:
            raise ConfigError(
                f"a shift of {self.shift} frames is not a positive multiple of "
                f"the subsampling factor {self.subsampling_factor}"
            )

    @property
    def segment(self) -> int:
        """Feature frames that one step reads."""
        return self.shift + self.overlap

    @property
    def output_frames(self) -> int:
        """Encoder frames that one step yields."""
        return self.shift // self.subsampling_factor

    @property
    def frame_ms(self) -> int:
        """Milliseconds between two encoder frames."""
        return self.subsampling_factor * self.frame_shift_ms

    def frames_in(self, feature_frames: int) -> int:
        """Encoder frames that a stream of so many feature frames yields."""
        return max(0, feature_frames - self.overlap) // self.subsampling_factor

    @property
    def chunk_ms(self) -> int:
        """Milliseconds of audio that one step advances."""
        return self.shift * self.frame_shift_ms

    def with_chunk_ms(self, chunk_ms: int) -> StreamingGeometry:
        """The same encoder stepping ``chunk_ms`` milliseconds at a time.

        Raises:
          ConfigError: if the network was exported for another chunk, or the length is not a
            whole number of encoder frames.
        """
        if chunk_ms == self.chunk_ms:
            return self
        unit = self.frame_ms
        if not self.dynamic:
            raise ConfigError(
                f"this model steps {self.chunk_ms} ms at a time, not {chunk_ms}",
                fix=f"leave the chunk length out, or give {self.chunk_ms}",
            )
        if chunk_ms < unit or chunk_ms % unit:
            raise ConfigError(
                f"a chunk of {chunk_ms} ms is not a positive multiple of {unit} ms",
                fix=f"try {max(unit, round(chunk_ms / unit) * unit)}",
            )
        return replace(self, shift=chunk_ms // self.frame_shift_ms)

    def with_chunk_size(self, chunk_size: int | None) -> StreamingGeometry:
        """As `with_chunk_ms`, in encoder frames; None changes nothing."""
        if chunk_size is None:
            return self
        return self.with_chunk_ms(chunk_size * self.frame_ms)

    def to_json(self) -> dict[str, Any]:
        """The attributes by name."""
        return asdict(self)


def tail_padding(geometry: StreamingGeometry) -> int:
    """Feature frames of silence to append so that the last words come out.

    The encoder reads ``overlap`` frames beyond its position, and the transducer emits a symbol some
    frames late. The padding compensates for both, in whole steps.
    """
    return math.ceil((geometry.overlap + FLUSH_FRAMES) / geometry.shift) * geometry.shift
