from __future__ import annotations

import numpy as np
import pytest

from calve_lhotse.augmentation import (
    SAMPLE_RATE,
    active_level,
    add_noise,
    change_speed,
    colored_noise,
    reverberate,
    shape_spectrum,
    stretch,
)


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def pitch(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 17))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / (1 << 17)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_moves_duration_and_pitch_together(factor: float) -> None:
    changed = change_speed(tone(300), factor)
    assert len(changed) == pytest.approx(SAMPLE_RATE / factor, abs=2)
    assert pitch(changed) == pytest.approx(300 * factor, abs=1)


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_stretching_keeps_the_pitch_and_the_level(rate: float) -> None:
    stretched = stretch(tone(300), rate)
    assert len(stretched) == pytest.approx(SAMPLE_RATE / rate, abs=600)
    assert pitch(stretched) == pytest.approx(300, abs=2)
    middle = stretched[2000:-2000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("length", [1, 100, 512, 3000])
def test_stretching_takes_pieces_of_any_length(length: int) -> None:
    assert np.isfinite(stretch(tone(300)[:length], 0.9)).all()


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 30.0])
def test_noise_lies_as_far_below_the_words_as_asked(snr_db: float) -> None:
    words = np.concatenate([np.zeros(8000, np.float32), tone(300), np.zeros(8000, np.float32)])
    noise = colored_noise(len(words), 0.0, np.random.default_rng(0))
    added = add_noise(words, noise, snr_db) - words
    measured = 20 * np.log10(0.5 / np.sqrt(2) / np.sqrt(np.mean(added**2)))
    assert measured == pytest.approx(snr_db, abs=0.3)


def test_the_active_level_ignores_silence() -> None:
    words = np.concatenate([np.zeros(16000, np.float32), tone(300), np.zeros(16000, np.float32)])
    assert active_level(words) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_colored_noise_falls_with_frequency_as_its_exponent_says(exponent: float) -> None:
    noise = colored_noise(16 * SAMPLE_RATE, exponent, np.random.default_rng(0))
    powers = np.abs(np.fft.rfft(noise)) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE)
    octaves = [powers[(frequencies >= f) & (frequencies < 2 * f)].mean() for f in (200, 3200)]
    decibels_per_octave = 10 * np.log10(octaves[0] / octaves[1]) / 4
    assert decibels_per_octave == pytest.approx(3.01 * exponent, abs=0.2)
    assert noise.std() == pytest.approx(1.0, rel=1e-3)


def test_a_shaped_spectrum_has_the_gains_asked_for() -> None:
    knots, gains = np.array([100.0, 3000.0, 4000.0]), np.array([6.0, 6.0, -60.0])
    for frequency, expected in ((1000.0, 6.0), (6000.0, -60.0)):
        shaped = shape_spectrum(tone(frequency), knots, gains)[4000:-4000]
        decibels = 20 * np.log10(np.abs(shaped).max() / 0.5)
        assert decibels == pytest.approx(expected, abs=1.0)


def test_a_room_rings_after_the_sound_and_not_before_it() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[4000] = 1.0
    wet = reverberate(click, 0.3, 6.0, np.random.default_rng(0))
    assert np.abs(wet[:3999]).max() < 1e-6
    tail = wet[4001:]
    assert 10 * np.log10(1 / np.sum(tail**2)) == pytest.approx(6.0, abs=1.0)
    assert np.sum(tail[:1600] ** 2) > 100 * np.sum(tail[3200:] ** 2)
