"""Renders planned utterances: joined digits, for training with other voices, rooms and levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.data.audio import Float32Array, read_audio
from calve_lhotse import augmentation
from calve_lhotse.augmentation import SAMPLE_RATE
from calve_lhotse.fsdd.plans import UtterancePlan, generator_for

__all__ = ["REVISION", "join", "render", "room_tone"]

REVISION = 3
"""Part of the stage's stamp: raise it when the same plan renders to other audio."""

_GAP_S = (0.05, 0.4)
_EDGE_S = (0.1, 0.6)
_FADE_S = 0.004
_TONE_WINDOW = 320

_AS_RECORDED_SHARE = 0.5
_SPEED = (0.85, 1.18)
_SPEED_JITTER = 0.03
_STRETCH = (0.85, 1.18)
_DIGIT_GAIN_DB = 3.0
_EQUALISER_DB = 2.0
_LOW_PASS_HZ = (2800.0, 4000.0)
_HIGH_PASS_HZ = (80.0, 350.0)
_DECAY_S = (0.08, 0.3)
_DIRECT_DB = (8.0, 20.0)
_SNR_DB = (12.0, 35.0)
_HISS_SNR_DB = (35.0, 60.0)
_PEAK_DBFS = (-32.0, -1.0)
_ZEROS_S = (0.1, 0.6)

_KNOTS_HZ = np.geomspace(40.0, 8000.0, 96)


def render(plan: UtterancePlan, seed: int) -> Float32Array:
    """The plan's audio, (n,) float32 at 16 kHz; the same for the same plan and seed."""
    generator = generator_for(seed, plan.id)
    pieces = [_load(path) for path in plan.pieces]
    if not plan.perturbed:
        return join(pieces, generator)
    if generator.random() < _AS_RECORDED_SHARE:
        # A model that never hears an easy utterance does not get beyond counting words.
        heard = join(pieces, generator)
    else:
        voice = join(_vary_voice(pieces, generator), generator)
        heard = _vary_room(voice, plan, generator)
    gain = 10 ** (generator.uniform(*_PEAK_DBFS) / 20) / (np.abs(heard).max() + 1e-9)
    return _between_zeros(heard * np.float32(gain), generator)


def join(pieces: Sequence[Float32Array], generator: np.random.Generator) -> Float32Array:
    """Recordings one after the other, with pauses between and around them.

    What fills the pauses sounds like the quiet parts of the recordings themselves, so that no
    digital silence tells a model where a word begins.
    """
    gaps = generator.uniform(*_GAP_S, size=len(pieces) + 1)
    gaps[[0, -1]] = generator.uniform(*_EDGE_S, size=2)
    gap_lengths = (gaps * SAMPLE_RATE).astype(int)
    total = int(gap_lengths.sum()) + sum(len(piece) for piece in pieces)
    utterance = room_tone(pieces, total, generator)
    position = 0
    for gap, piece in zip(gap_lengths, pieces, strict=False):
        position += int(gap)
        utterance[position : position + len(piece)] += _faded(piece)
        position += len(piece)
    return np.clip(utterance, -1.0, 1.0)


def room_tone(
    pieces: Sequence[Float32Array], length: int, generator: np.random.Generator
) -> Float32Array:
    """Noise with the mean spectrum of the quietest tenth of the pieces' 20 ms windows."""
    window = np.hanning(_TONE_WINDOW).astype(np.float32)
    frames = np.concatenate([_windows(piece) for piece in pieces])
    energies = np.square(frames).sum(axis=1)
    quietest = frames[np.argsort(energies)[: max(1, len(frames) // 10)]]
    powers = np.square(np.abs(np.fft.rfft(quietest * window))).mean(axis=0)
    density = np.sqrt(powers / np.square(window).sum())

    size = max(length, _TONE_WINDOW)
    spectrum = np.fft.rfft(generator.standard_normal(size, dtype=np.float32))
    envelope = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, len(density)), density)
    return np.fft.irfft(spectrum * envelope, size)[:length].astype(np.float32)


def _vary_voice(
    pieces: Sequence[Float32Array], generator: np.random.Generator
) -> list[Float32Array]:
    """One other voice for the whole utterance, and slightly other words each time."""
    speed = _draw_factor(_SPEED, generator)
    rate = _draw_factor(_STRETCH, generator) if generator.random() < 0.3 else 1.0
    varied = []
    for piece in pieces:
        jitter = float(np.exp(_SPEED_JITTER * generator.standard_normal()))
        gain = 10 ** (_DIGIT_GAIN_DB * generator.standard_normal() / 20)
        changed = augmentation.change_speed(piece, speed * jitter)
        if rate != 1.0:
            changed = augmentation.stretch(changed, rate)
        varied.append(changed * np.float32(gain))
    return varied


def _vary_room(
    voice: Float32Array, plan: UtterancePlan, generator: np.random.Generator
) -> Float32Array:
    """Microphone, reverberation and noise."""
    # Half of the synthetic voices are wide-band, as ordinary microphones are; the data set's own
    # recordings end at 4 kHz.
    low_pass = generator.random() < (0.5 if plan.synthetic else 0.3)
    heard = augmentation.shape_spectrum(voice, _KNOTS_HZ, _microphone(low_pass, generator))
    if generator.random() < 0.25:
        heard = augmentation.reverberate(
            heard, generator.uniform(*_DECAY_S), generator.uniform(*_DIRECT_DB), generator
        )
    if plan.babble:
        noise = _babble([_load(path) for path in plan.babble], len(heard), generator)
    else:
        noise = augmentation.colored_noise(len(heard), generator.uniform(0.0, 2.0), generator)
        if generator.random() < 0.5:
            noise = augmentation.shape_spectrum(noise, _KNOTS_HZ, _microphone(True, generator))
    audible = bool(plan.babble) or generator.random() < 0.5
    snr_db = generator.uniform(*(_SNR_DB if audible else _HISS_SNR_DB))
    return augmentation.add_noise(heard, noise, snr_db)


def _between_zeros(samples: Float32Array, generator: np.random.Generator) -> Float32Array:
    """Digital silence at some ends, as players and streaming recognizers put it there."""
    before, after = generator.uniform(*_ZEROS_S, size=2) * (generator.random(2) < (0.15, 0.4))
    return np.pad(samples, (int(before * SAMPLE_RATE), int(after * SAMPLE_RATE)))


def _microphone(low_pass: bool, generator: np.random.Generator) -> NDArray[np.float64]:
    """Gains in dB at `_KNOTS_HZ`: a smooth random curve, with or without steep edges."""
    control = np.clip(generator.normal(0.0, _EQUALISER_DB, size=8), -8.0, 8.0)
    octaves = np.log2(_KNOTS_HZ)
    gains = np.interp(octaves, np.linspace(octaves[0], octaves[-1], 8), control)
    if low_pass:
        gains -= 200.0 * np.maximum(octaves - np.log2(generator.uniform(*_LOW_PASS_HZ)), 0.0)
    if generator.random() < 0.4:
        gains -= 24.0 * np.maximum(np.log2(generator.uniform(*_HIGH_PASS_HZ)) - octaves, 0.0)
    return np.asarray(np.maximum(gains, -90.0))


def _babble(
    recordings: Sequence[Float32Array], length: int, generator: np.random.Generator
) -> Float32Array:
    """Several people talking at once: three loops over the recordings, each shifted."""
    loop = np.concatenate(recordings)
    shifts = generator.integers(0, len(loop), size=3)
    voices = [np.resize(np.roll(loop, shift), length) for shift in shifts]
    return np.asarray(np.sum(voices, axis=0), dtype=np.float32)


def _draw_factor(span: tuple[float, float], generator: np.random.Generator) -> float:
    return float(np.exp(generator.uniform(*np.log(span))))


def _faded(piece: Float32Array) -> Float32Array:
    ramp = np.linspace(0.0, 1.0, int(_FADE_S * SAMPLE_RATE), dtype=np.float32)
    faded = np.array(piece, dtype=np.float32)
    faded[: len(ramp)] *= ramp[: len(faded)]
    faded[-len(ramp) :] *= ramp[::-1][-len(faded) :]
    return faded


def _windows(piece: Float32Array) -> Float32Array:
    count = max(1, len(piece) // _TONE_WINDOW)
    return np.asarray(np.resize(piece, (count, _TONE_WINDOW)))


def _load(path: Path) -> Float32Array:
    status = path.stat() if path.exists() else None
    return _loaded(path, status and (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=2048)
def _loaded(path: Path, version: tuple[int, int] | None) -> Float32Array:
    """A file that was written anew has another size or time, so it is read anew."""
    return read_audio(path, SAMPLE_RATE).samples
