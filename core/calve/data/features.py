"""Log-mel filter banks, exactly as sherpa-ncnn computes them.

The arithmetic is kaldi-native-fbank's, the library inside k2-fsa's on-device runtimes; it agrees
with lhotse's ``Fbank`` (icefall's training features) to about 1e-3.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field

import kaldi_native_fbank as knf
import numpy as np
from numpy.typing import NDArray

from calve.common.ranges import Range, check_ranges
from calve.data.audio_survey import check_samples
from calve.errors import AudioError, ConfigError

__all__ = [
    "PADDING",
    "FeatureConfig",
    "StreamingFbank",
    "compute_fbank",
    "silent_frame",
    "silent_tail",
]

Float32Array = NDArray[np.float32]

PADDING = math.log(1e-10)
"""Padding value of icefall's feature batches; an utterance's last output frame may depend on it."""

_BLOCK_SAMPLES = 1 << 16
"""Largest number of samples per list; a list takes eight times the memory."""


@dataclass(frozen=True)
class FeatureConfig:
    """The parameters of a feature matrix; the defaults are those of icefall and sherpa-ncnn.

    Attributes:
      sample_rate: Samples per second of the audio.
      num_mel_bins: Feature dimension C.
      frame_length_ms: Width of the analysis window.
      frame_shift_ms: Distance between two frames.
      low_freq: Lower edge of the filter bank in Hz.
      high_freq: Upper edge in Hz; negative values count down from half the sample rate.
      dither: Standard deviation of noise added to the samples; 0 keeps features deterministic.
      snip_edges: Whether to omit frames that extend beyond the ends of the audio.

    Raises:
      ConfigError: if a number is outside of its range, or no filter is possible.
    """

    sample_rate: int = field(default=16000, metadata={"range": Range(8000, 48_000)})
    num_mel_bins: int = field(default=80, metadata={"range": Range(1, 1024)})
    frame_length_ms: float = field(default=25.0, metadata={"range": Range(1, 1000)})
    frame_shift_ms: float = field(default=10.0, metadata={"range": Range(1, 1000)})
    low_freq: float = field(default=20.0, metadata={"range": Range(0, 24_000)})
    high_freq: float = field(default=-400.0, metadata={"range": Range(-24_000, 24_000)})
    dither: float = field(default=0.0, metadata={"range": Range(0, 1)})
    snip_edges: bool = False

    def __post_init__(self) -> None:
        check_ranges(self)
        half = self.sample_rate / 2
        top = self.high_freq if self.high_freq > 0 else half + self.high_freq
        if not self.low_freq < top <= half:
            raise ConfigError(
                f"no filters lie between low_freq {self.low_freq:g} and high_freq "
                f"{self.high_freq:g} at {self.sample_rate} Hz"
            )

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that identify the configuration."""
        fields = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()[:12]


class StreamingFbank:
    """Features of one stream, independent of how its audio is divided into pieces.

    The frame whose window reaches past the end of the audio can only be computed once that end
    is known, so the last frames appear after `finish`.
    """

    def __init__(self, config: FeatureConfig | None = None) -> None:
        self.config = config or FeatureConfig()
        self._extractor = _extractor(self.config)
        self._next_frame = 0
        self._finished = False

    @property
    def ready(self) -> int:
        """Frames that can be popped now."""
        return int(self._extractor.num_frames_ready) - self._next_frame

    def accept(self, samples: Float32Array) -> None:
        """Append audio.

        Args:
          samples: (n,) floating point, full scale is [-1, 1]; n may be 0.

        Raises:
          AudioError: if the samples are integers or not one-dimensional, hold NaN or infinity, or
            are far beyond full scale, or the stream is already finished.
        """
        if self._finished:
            raise AudioError("audio was appended to a stream that is already finished")
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise AudioError(
                f"features need samples of shape (n,) and a floating point type, "
                f"not {samples.shape} {samples.dtype}",
                fix="scale integer samples to [-1, 1] first, or use calve.data.audio.read_audio",
            )
        check_samples(samples)
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            block = samples[start : start + _BLOCK_SAMPLES].astype(np.float32, copy=False)
            # A list, since the binding reads an array one numpy scalar at a time, which is slower.
            self._extractor.accept_waveform(self.config.sample_rate, block.tolist())

    def finish(self) -> None:
        """End the audio; the last frames become ready."""
        if not self._finished:
            self._finished = True
            self._extractor.input_finished()

    def pop(self, count: int) -> Float32Array:
        """Remove and return the next ``count`` frames, (count, C) float32.

        Raises:
          AudioError: if fewer frames are ready.
        """
        if not 0 <= count <= self.ready:
            raise AudioError(f"{count} feature frames were requested, {self.ready} are ready")
        frames = np.empty((count, self.config.num_mel_bins), dtype=np.float32)
        for row in range(count):
            frames[row] = self._extractor.get_frame(self._next_frame + row)
        self._extractor.pop(count)
        self._next_frame += count
        return frames

    def frames(self) -> Float32Array:
        """Remove and return all ready frames, (n, C) float32."""
        return self.pop(self.ready)


def compute_fbank(samples: Float32Array, config: FeatureConfig | None = None) -> Float32Array:
    """Compute the features of a whole recording.

    Args:
      samples: (n,) floating point, full scale is [-1, 1].
      config: The parameters; by default icefall's 80-dimensional filter bank.

    Returns:
      (T, C) float32, T = round(n / samples per frame shift).
    """
    stream = StreamingFbank(config)
    stream.accept(samples)
    stream.finish()
    return stream.frames()


def silent_frame(config: FeatureConfig) -> Float32Array:
    """(1, C), the features of digital silence."""
    samples = round(config.frame_shift_ms * config.sample_rate / 1000)
    return compute_fbank(np.zeros(samples, dtype=np.float32), config)


def silent_tail(frames: int, config: FeatureConfig) -> Float32Array:
    """(n,) zero samples that last ``frames`` feature frames."""
    samples = round(frames * config.frame_shift_ms * config.sample_rate / 1000)
    return np.zeros(samples, dtype=np.float32)


def _extractor(config: FeatureConfig) -> knf.OnlineFbank:
    try:
        return knf.OnlineFbank(_knf_options(config))
    except ValueError as error:
        raise ConfigError(
            f"there are no features of {config.num_mel_bins} mel bins at {config.sample_rate} Hz: "
            f"{error}"
        ) from error


def _knf_options(config: FeatureConfig) -> knf.FbankOptions:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = config.sample_rate
    options.frame_opts.frame_length_ms = config.frame_length_ms
    options.frame_opts.frame_shift_ms = config.frame_shift_ms
    options.frame_opts.dither = config.dither
    options.frame_opts.snip_edges = config.snip_edges
    options.mel_opts.num_bins = config.num_mel_bins
    options.mel_opts.low_freq = config.low_freq
    options.mel_opts.high_freq = config.high_freq
    return options
