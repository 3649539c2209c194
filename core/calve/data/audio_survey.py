"""Survey of a whole recording before it is used.

A single block does not show whether two channels cancel, whether floating point samples are meant
as 16-bit integers, or whether the whole recording is silent. Each recording is therefore decoded
twice: once for these questions, in constant memory, and once for its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calve.errors import AudioError

__all__ = ["SILENCE", "AudioSurvey", "Mixdown", "check_samples"]

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

SILENCE = 1e-4
"""Peak (-80 dB of full scale) below which a recording counts as silent."""

_INTEGER_SCALE = 32768.0
_LEAST_INTEGER_PEAK, _LARGEST_INTEGER_PEAK = 16.0, 65536.0
"""Peaks between these come from 16-bit integers, perhaps resampled."""

_NOTED_PEAK = 1.5
"""Factor of full scale that decoders and resamplers do not exceed."""

_FULL_SCALE, _BEYOND = 0.999, 1.001
_CLIPPED_SHARE, _FEWEST_CLIPPED = 1e-3, 10
"""Share of samples at full scale that speech without clipping does not reach."""

_CANCELLED = 0.1
"""Power of the channels' mean, by that of channels that have nothing in common, below which they
cancel."""

_OFFSET = 0.05
"""Ratio of a constant offset to the signal's deviation from which the offset is removed."""


@dataclass(frozen=True)
class Mixdown:
    """How the channels of a recording become one signal.

    Attributes:
      channels: Channels to average; None for all.
      scale: Factor of their mean.
      offset: Offset to subtract afterwards.
    """

    channels: tuple[int, ...] | None = None
    scale: float = 1.0
    offset: float = 0.0

    def __call__(self, block: Float32Array) -> Float32Array:
        """The signal.

        Args:
          block: (n, channels).

        Returns:
          (n,) float32.
        """
        used = block if self.channels is None else block[:, self.channels]
        mono: Float32Array = used[:, 0] if used.shape[1] == 1 else used.mean(axis=1)
        if self.scale != 1:
            mono = mono * np.float32(self.scale)
        if self.offset:
            mono = mono - np.float32(self.offset)
        return mono


def check_samples(samples: NDArray[np.floating]) -> None:
    """Reject samples that a recording of full scale 1 cannot have.

    Args:
      samples: Floating point, of any shape.

    Raises:
      AudioError: if they hold NaN or infinity, or reach more than 16 times full scale.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise AudioError("the recording holds NaN or infinite samples")
    if peak > _LEAST_INTEGER_PEAK:
        raise AudioError(
            f"the samples reach {peak:.3g}; full scale of floating point samples is 1",
            fix="divide them by the full scale that they were written with, for example 32768 for "
            "16-bit integers",
        )


class AudioSurvey:
    """Sums and extremes of a recording's channels.

    Args:
      channels: Their number.
      sample_rate: Samples per second.
      is_float: Whether floating point samples are stored, which have no full scale.
      where: The recording, for messages.
    """

    def __init__(self, channels: int, sample_rate: int, *, is_float: bool, where: str) -> None:
        self.frames = 0
        self.sample_rate = sample_rate
        self._is_float = is_float
        self._where = where
        self._sums = np.zeros(channels + 1)  # the last one is the mean of the channels
        self._squares = np.zeros(channels + 1)
        self._lowest = np.full(channels, np.inf)
        self._highest = np.full(channels, -np.inf)
        self._at_full_scale = 0

    def add(self, block: Float32Array) -> None:
        """Count the next samples.

        Args:
          block: (n, channels).

        Raises:
          AudioError: if they hold NaN or infinity.
        """
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            seconds = (self.frames + int(np.argmin(finite))) / self.sample_rate
            raise AudioError(
                f"the recording holds NaN or infinite samples, the first at {seconds:.2f} s",
                where=self._where,
                fix="convert it again from its source",
            )
        values = block.astype(np.float64)
        values = np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)
        self._sums += values.sum(axis=0)
        self._squares += np.square(values).sum(axis=0)
        self._lowest = np.minimum(self._lowest, block.min(axis=0))
        self._highest = np.maximum(self._highest, block.max(axis=0))
        self._at_full_scale += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))
        self.frames += len(block)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is louder than `SILENCE`; a constant offset is no sound."""
        return not self._sounding()

    def result(self) -> tuple[Mixdown, list[str]]:
        """Return how to mix the recording, and notes for the user.

        Raises:
          AudioError: if its samples are far beyond full scale.
        """
        notes = []
        scale = self._scale()
        if scale != 1:
            notes.append(
                f"samples reach {self._peak():.0f}: they were taken as 16-bit integers and divided "
                f"by {_INTEGER_SCALE:.0f}"
            )
        elif self._is_float and self._peak() > _NOTED_PEAK:
            notes.append(f"samples reach {self._peak():.1f} times full scale")
        chosen, note = self._chosen()
        notes += [note] if note else []
        if self.is_silent:
            notes.append("it holds only silence")
        elif self._is_clipped():
            share = self._at_full_scale / self._values
            notes.append(f"clipped: {100 * share:.1f} % of the samples are at full scale")
        offset = self._offset(chosen) * scale
        if offset:
            notes.append(f"removed a constant offset of {offset:.2f} of full scale")
        everything = len(chosen) == len(self._lowest)
        return Mixdown(None if everything else tuple(chosen), scale, offset), notes

    @property
    def _values(self) -> int:
        return max(1, self.frames * len(self._lowest))

    def _peak(self) -> float:
        return float(max(np.abs(self._lowest).max(), np.abs(self._highest).max()))

    def _scale(self) -> float:
        if not self._is_float or self._peak() <= _LEAST_INTEGER_PEAK:
            return 1.0
        if self._peak() <= _LARGEST_INTEGER_PEAK:
            return 1 / _INTEGER_SCALE
        raise AudioError(
            f"the samples reach {self._peak():.3g}; full scale of floating point samples is 1",
            where=self._where,
            fix="divide them by the full scale that they were written with, for example 2147483648 "
            "for 32-bit integers",
        )

    def _is_clipped(self) -> bool:
        if self._is_float and self._peak() > _BEYOND:  # or taken for integers
            return False
        least = max(_FEWEST_CLIPPED, _CLIPPED_SHARE * self._values)
        return self._at_full_scale >= least

    def _sounding(self) -> list[int]:
        """Return the channels that are not silent."""
        loudness = (self._highest - self._lowest) / 2 * self._scale()
        return [channel for channel, value in enumerate(loudness) if value >= SILENCE]

    def _power(self) -> Float64Array:
        """Variance of each channel, and of their mean."""
        frames = max(1, self.frames)
        return np.maximum(0.0, self._squares / frames - np.square(self._sums / frames))

    def _chosen(self) -> tuple[Sequence[int], str | None]:
        """Return the channels to average, and the note about them."""
        everything = range(len(self._lowest))
        if len(everything) == 1:
            return everything, None
        of = f"of {len(everything)}"
        *powers, power_of_mean = self._power()
        if power_of_mean < _CANCELLED * sum(powers) / len(everything) ** 2:
            loudest = int(np.argmax(powers))
            return [loudest], (
                f"took channel {loudest + 1} {of}: averaged, the channels cancel (opposite phase)"
            )
        sounding = self._sounding()
        if len(sounding) == 1:
            return sounding, f"took channel {sounding[0] + 1} {of}: the others are silent"
        if sounding and len(sounding) < len(everything):
            return sounding, f"averaged {len(sounding)} {of} channels: the others are silent"
        return everything, f"averaged {len(everything)} channels"

    def _offset(self, chosen: Sequence[int]) -> float:
        """Return the offset to remove, at the scale of the file."""
        frames = max(1, self.frames)
        mean = float(np.mean(self._sums[list(chosen)]) / frames)
        deviation = float(np.sqrt(self._power()[list(chosen)].max()))
        is_large = abs(mean) * self._scale() > _OFFSET and abs(mean) > deviation / 2
        return mean if is_large else 0.0
