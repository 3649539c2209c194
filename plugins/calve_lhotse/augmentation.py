"""Waveform augmentation: other voices, rooms and microphones.

All functions take (n,) float32 samples at 16 kHz, full scale [-1, 1], and return new ones. They
draw everything random from the generator that they are given.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

__all__ = [
    "SAMPLE_RATE",
    "active_level",
    "add_noise",
    "change_speed",
    "colored_noise",
    "reverberate",
    "shape_spectrum",
    "stretch",
]

Float32Array = NDArray[np.float32]

SAMPLE_RATE = 16000


def change_speed(samples: Float32Array, factor: float) -> Float32Array:
    """Play ``factor`` times faster: tempo, pitch and formants move together."""
    faster = soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ")
    return np.asarray(faster, dtype=np.float32)


def stretch(samples: Float32Array, rate: float) -> Float32Array:
    """Speak ``rate`` times faster at the same pitch.

    Waveform similarity overlap-add (Verhelst and Roelands, ICASSP 1993): each output window is
    the stretch of input, near where the time scale points, that continues the last one best.
    """
    hop, search = 256, 160
    width = 2 * hop
    padded = np.concatenate(
        [np.zeros(search, np.float32), samples, np.zeros(width + 2 * search, np.float32)]
    )
    windows = max(1, round(len(samples) / rate / hop))
    window = np.hanning(width + 1)[:-1].astype(np.float32)
    stretched = np.zeros((windows + 1) * hop, np.float32)
    start = search
    for index in range(windows):
        if index:
            target = min(int(index * hop * rate), len(samples))
            continuation = padded[start + hop : start + hop + width]
            if len(continuation) < width:
                break
            candidates = padded[target : target + 2 * search + width]
            start = target + int(np.argmax(np.correlate(candidates, continuation, "valid")))
        stretched[index * hop : index * hop + width] += window * padded[start : start + width]
    return stretched


def colored_noise(length: int, exponent: float, generator: np.random.Generator) -> Float32Array:
    """Gaussian noise of unit power whose spectrum falls as 1/f^exponent (0 white, 1 pink)."""
    size = _fft_size(length)
    frequencies = np.maximum(np.arange(size // 2 + 1), 1).astype(np.float32)
    spectrum = np.fft.rfft(generator.standard_normal(size, dtype=np.float32))
    noise = np.fft.irfft(spectrum * frequencies ** (-exponent / 2), size)[:length]
    return np.asarray(noise / (noise.std() + 1e-12), dtype=np.float32)


def add_noise(speech: Float32Array, noise: Float32Array, snr_db: float) -> Float32Array:
    """``speech`` with ``noise`` of the same length, ``snr_db`` below the words' level."""
    gain = active_level(speech) / (active_level(noise) + 1e-12) * 10 ** (-snr_db / 20)
    return np.asarray(speech + gain * noise, dtype=np.float32)


def active_level(samples: Float32Array) -> float:
    """Root mean square over the 20 ms frames within 25 dB of the loudest one."""
    width = SAMPLE_RATE // 50
    whole = len(samples) // width * width
    powers = np.square(samples[:whole], dtype=np.float64).reshape(-1, width).mean(axis=1)
    return float(np.sqrt(powers[powers >= powers.max() * 10**-2.5].mean()))


def shape_spectrum(
    samples: Float32Array, knots_hz: NDArray[np.float64], gains_db: NDArray[np.float64]
) -> Float32Array:
    """Filter without delay: gains at some frequencies, interpolated over the logarithm of f."""
    size = _fft_size(len(samples))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 1.0)
    gains = 10 ** (np.interp(np.log(frequencies), np.log(knots_hz), gains_db) / 20)
    shaped = np.fft.irfft(np.fft.rfft(samples, size) * gains, size)[: len(samples)]
    return np.asarray(shaped, dtype=np.float32)


def reverberate(
    samples: Float32Array, decay_s: float, direct_db: float, generator: np.random.Generator
) -> Float32Array:
    """A small room: the direct sound and exponentially decaying noise after it.

    Args:
      samples: The dry recording.
      decay_s: Seconds in which the room's sound falls by 60 dB.
      direct_db: Level of the direct sound above the whole of the room's.
      generator: Where the room's response is drawn from.
    """
    length = max(2, int(decay_s * SAMPLE_RATE))
    time = np.arange(length) / length
    room = generator.standard_normal(length) * 10 ** (-3 * time)
    room *= 10 ** (-direct_db / 20) / np.sqrt(np.square(room).sum())
    room[0] += 1.0
    size = _fft_size(len(samples) + length)
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(room, size), size)
    return np.asarray(wet[: len(samples)], dtype=np.float32)


def _fft_size(length: int) -> int:
    """A length that the FFT likes, with room so that a filter's response does not wrap around."""
    unit = 4096
    return -(-(length + unit // 4) // unit) * unit
