from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from calve.data.audio import AudioReader, read_audio
from calve.errors import AudioError


def tone(seconds: float, sample_rate: int, frequency: float = 440.0) -> np.ndarray:
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def written(tmp_path: Path):
    def write(name: str, samples: np.ndarray, sample_rate: int = 16000, **options: str) -> Path:
        soundfile.write(tmp_path / name, samples, sample_rate, **options)
        return tmp_path / name

    return write


def test_a_wav_at_the_wanted_rate_comes_back_sample_for_sample(written) -> None:
    samples = tone(0.25, 16000)
    audio = read_audio(written("a.wav", samples, subtype="FLOAT"))
    np.testing.assert_array_equal(audio.samples, samples)
    assert audio.samples.dtype == np.float32
    assert audio.duration == 0.25
    assert audio.notes == ()


def test_16_bit_samples_are_scaled_to_one(written) -> None:
    full_scale = np.array([-32768, 0, 16384], dtype=np.int16)
    audio = read_audio(written("a.wav", full_scale))
    np.testing.assert_array_equal(audio.samples, np.float32([-1.0, 0.0, 0.5]))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_every_common_format_is_read(written, name: str) -> None:
    audio = read_audio(written(name, tone(0.5, 16000)))
    assert audio.sample_rate == 16000
    assert np.abs(audio.samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("stored_rate", [8000, 22050, 44100, 48000])
def test_other_rates_are_resampled_with_a_note(written, stored_rate: int) -> None:
    audio = read_audio(written("a.wav", tone(1.0, stored_rate), stored_rate))
    assert abs(len(audio.samples) - 16000) <= 1
    assert audio.duration == pytest.approx(1.0)
    assert audio.notes == (f"resampled from {stored_rate} Hz to 16000 Hz",)
    expected = tone(1.0, 16000)[1000:15000]
    np.testing.assert_allclose(audio.samples[1000:15000], expected, atol=1e-3)


def test_channels_are_averaged_with_a_note(written) -> None:
    samples = tone(0.2, 16000)
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    audio = read_audio(written("a.wav", stereo, subtype="FLOAT"))
    np.testing.assert_allclose(audio.samples, 0.75 * samples, atol=1e-7)
    assert audio.notes == ("averaged 2 channels",)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="does not exist") as caught:
        read_audio(tmp_path / "nowhere.wav")
    assert caught.value.where == str(tmp_path / "nowhere.wav")


def test_a_directory_is_not_a_recording(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is not a file"):
        read_audio(tmp_path)


@pytest.mark.parametrize("name", ["a.wav", "a.raw", "a"])
def test_a_file_that_is_no_audio_says_what_would_be(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("not audio at all\n" * 100)
    with pytest.raises(AudioError, match="cannot decode") as caught:
        read_audio(path)
    assert caught.value.where == str(path)
    assert "FLAC" in str(caught.value.fix)


def test_a_wav_cut_in_its_header_is_an_error(written) -> None:
    path = written("a.wav", tone(0.1, 16000))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert caught.value.where == str(path)


def test_an_empty_recording_is_an_error(written) -> None:
    with pytest.raises(AudioError, match="no samples"):
        read_audio(written("a.wav", np.zeros(0, dtype=np.float32)))


def test_a_recording_of_less_than_one_sample_at_the_wanted_rate_is_an_error(written) -> None:
    with pytest.raises(AudioError, match="less than one sample at 16000 Hz"):
        read_audio(written("a.wav", tone(1 / 48000, 48000), 48000))


def test_nan_samples_are_an_error(written) -> None:
    samples = tone(0.1, 16000)
    samples[7] = np.nan
    with pytest.raises(AudioError, match="NaN"):
        read_audio(written("a.wav", samples, subtype="FLOAT"))


@pytest.mark.parametrize("stored_rate", [8000, 16000, 44100])
def test_blocks_are_exactly_what_the_whole_recording_is(written, stored_rate: int) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=(5 * stored_rate + 7, 2))
    path = written("a.wav", samples.astype(np.float32), stored_rate, subtype="FLOAT")
    with AudioReader(path) as reader:
        blocks = list(reader)
    assert len(blocks) >= 5
    assert reader.duration == 5 + 7 / stored_rate
    mono = samples.astype(np.float32).mean(axis=1)
    expected = mono if stored_rate == 16000 else soxr.resample(mono, stored_rate, 16000)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("kind", ["tone", "noise"])
def test_a_compressed_file_in_blocks_is_what_it_is_at_once(written, name: str, kind: str) -> None:
    samples = tone(5.0, 44100)
    if kind == "noise":
        samples = np.random.default_rng(0).normal(scale=0.1, size=len(samples))
    path = written(name, samples, 44100)
    whole, _ = soundfile.read(path, dtype="float32")
    with AudioReader(path, 44100) as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader)), whole)


def test_the_lowest_sampling_rate_does_not_make_a_giant_block(written) -> None:
    path = written("a.wav", np.zeros(2500, dtype=np.float32), 1000)
    with AudioReader(path) as reader:
        blocks = [len(block) for block in reader]
    assert sum(blocks) == 2500 * 16
    assert max(blocks) < 1 << 16


def test_nan_late_in_a_recording_is_an_error_before_any_block_is_given(written) -> None:
    samples = tone(5.0, 16000)
    samples[-16000] = np.inf
    path = written("a.wav", samples, subtype="FLOAT")
    with pytest.raises(
        AudioError, match=r"NaN or infinite samples, the first at 4\.00 s"
    ) as caught:
        AudioReader(path)
    assert caught.value.where == str(path)


def test_a_recording_too_long_for_the_memory_is_read_in_blocks_only(
    written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calve.data.audio.MOST_SECONDS_AT_ONCE", 3600)
    path = written("a.flac", np.zeros(3601 * 1000, dtype=np.int16), 1000)
    with pytest.raises(AudioError, match=r"lasts 1\.0 hours; 1 hours can be read at once"):
        read_audio(path, 1000)
    with AudioReader(path, 1000) as reader:
        assert sum(map(len, reader)) == 3601 * 1000
