"""Recordings that are plausible and wrong: scale, phase, silence, offset, clipping."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.data.audio import AudioReader, read_audio
from calve.errors import AudioError

RATE = 16000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
NOISE = np.random.default_rng(0).normal(scale=0.1, size=2 * RATE).astype(np.float32)
SILENT = np.zeros_like(TONE)


@pytest.fixture
def read(tmp_path: Path):
    def read(*channels: np.ndarray, subtype: str = "FLOAT"):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack(channels, axis=1), RATE, subtype=subtype)
        return read_audio(path)

    return read


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floating_point_samples_on_the_scale_of_integers_are_scaled(read, subtype: str) -> None:
    audio = read(TONE * 32768, subtype=subtype)
    np.testing.assert_allclose(audio.samples, TONE, atol=1e-7)
    assert audio.notes == (
        "samples reach 16384: they were taken as 16-bit integers and divided by 32768",
    )


def test_the_scale_is_that_of_the_whole_recording(read) -> None:
    # The beginning alone, up to 1.6, could be ordinary audio that is too loud.
    audio = read(np.concatenate([1e-4 * TONE, TONE]) * 32768)
    np.testing.assert_allclose(audio.samples[: 2 * RATE], 1e-4 * TONE, atol=1e-9)


def test_samples_slightly_beyond_full_scale_are_kept(read) -> None:
    assert read(2.8 * TONE).notes == ()
    audio = read(8 * TONE)
    np.testing.assert_array_equal(audio.samples, 8 * TONE)
    assert audio.notes == ("samples reach 4.0 times full scale",)


@pytest.mark.parametrize("peak", [1e5, 2.0**31, 1e30, 3e38])
def test_samples_of_no_known_scale_are_refused(read, peak: float) -> None:
    with pytest.raises(AudioError, match="full scale of floating point samples is 1") as caught:
        read(2 * TONE * np.float32(peak))
    assert str(caught.value.where).endswith("a.wav")
    assert "divide" in str(caught.value.fix)


@pytest.mark.parametrize("factor", [-1.0, -0.9])
def test_channels_in_opposite_phase_are_not_averaged(read, factor: float) -> None:
    audio = read(NOISE, np.float32(factor) * NOISE)
    np.testing.assert_array_equal(audio.samples, NOISE)
    assert audio.notes == ("took channel 1 of 2: averaged, the channels cancel (opposite phase)",)


def test_channels_that_differ_are_averaged(read) -> None:
    audio = read(NOISE, TONE)
    np.testing.assert_allclose(audio.samples, (NOISE + TONE) / 2, atol=1e-7)
    assert audio.notes == ("averaged 2 channels",)
    many = np.random.default_rng(1).normal(scale=0.1, size=(32, RATE)).astype(np.float32)
    assert read(*many).notes == ("averaged 32 channels",)


def test_silent_channels_do_not_make_the_others_quieter(read) -> None:
    audio = read(SILENT, TONE)
    np.testing.assert_array_equal(audio.samples, TONE)
    assert audio.notes == ("took channel 2 of 2: the others are silent",)
    audio = read(SILENT, TONE, SILENT, NOISE, SILENT)
    np.testing.assert_allclose(audio.samples, (NOISE + TONE) / 2, atol=1e-7)
    assert audio.notes == ("averaged 2 of 5 channels: the others are silent",)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_silent_recording_says_so(read, channels: int, offset: float) -> None:
    notes = read(*[SILENT + np.float32(offset)] * channels).notes
    assert "it holds only silence" in notes


def test_whether_a_recording_is_silent_is_known_before_it_is_read(tmp_path: Path) -> None:
    for level, silent in ((9e-5, True), (2e-4, False)):
        soundfile.write(tmp_path / "a.wav", 2 * TONE * level, RATE, subtype="FLOAT")
        with AudioReader(tmp_path / "a.wav") as reader:
            assert reader.is_silent is silent


def test_a_constant_offset_is_taken_away(read) -> None:
    audio = read(NOISE + np.float32(0.3), subtype="PCM_16")
    np.testing.assert_allclose(audio.samples, NOISE - NOISE.mean(), atol=1e-4)
    assert audio.notes == ("removed a constant offset of 0.30 of full scale",)
    audio = read((NOISE + np.float32(0.3)) * 32768)
    np.testing.assert_allclose(audio.samples, NOISE - NOISE.mean(), atol=1e-4)
    assert audio.notes[-1] == "removed a constant offset of 0.30 of full scale"


def test_a_small_offset_is_left(read) -> None:
    audio = read(NOISE + np.float32(0.01))
    np.testing.assert_array_equal(audio.samples, NOISE + np.float32(0.01))
    assert audio.notes == ()


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_clipping_is_noted(read, subtype: str) -> None:
    (note,) = read(np.clip(4 * TONE, -1, 1), subtype=subtype).notes
    assert re.fullmatch(r"clipped: 66\.\d % of the samples are at full scale", note)
    assert read(1.99 * TONE, subtype=subtype).notes == ()


def test_the_first_nan_is_found_in_any_channel(read) -> None:
    damaged = TONE.copy()
    damaged[RATE:] = np.nan
    with pytest.raises(AudioError, match=r"the first at 1\.00 s"):
        read(TONE, damaged)
