from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calve.data.features import FeatureConfig, StreamingFbank, compute_fbank
from calve.errors import AudioError

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, size=16000).astype(np.float32)


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / "fbank.pt", weights_only=True)


@pytest.fixture(scope="module")
def wave(golden: dict[str, Any]) -> np.ndarray:
    return golden["wave_int16"].numpy().astype(np.float32) / 32768


def test_features_equal_those_of_sherpa_ncnn(golden: dict[str, Any], wave: np.ndarray) -> None:
    expected = golden["knf_fbank"].numpy()
    np.testing.assert_allclose(compute_fbank(wave), expected, rtol=0, atol=1e-6)


def test_features_agree_with_lhotse(golden: dict[str, Any], wave: np.ndarray) -> None:
    expected = golden["lhotse_fbank"].numpy()
    np.testing.assert_allclose(compute_fbank(wave), expected, rtol=0, atol=2e-3)


def test_frames_become_ready_as_in_sherpa_ncnn(golden: dict[str, Any], wave: np.ndarray) -> None:
    stream = StreamingFbank()
    ready = []
    for start in range(0, len(wave), 1600):
        stream.accept(wave[start : start + 1600])
        ready.append(stream.ready)
    assert ready == golden["knf_frames_ready_after_each_1600_samples"]
    stream.finish()
    assert stream.ready == len(golden["knf_fbank"])


@settings(max_examples=50)
@given(cuts=st.lists(st.integers(0, 16000), max_size=20), length=st.integers(0, 16000))
def test_pieces_of_any_size_give_the_frames_of_one_shot(cuts: list[int], length: int) -> None:
    stream = StreamingFbank()
    pieces = []
    for start, stop in pairwise([0, *sorted(min(cut, length) for cut in cuts), length]):
        stream.accept(NOISE[start:stop])
        pieces.append(stream.frames())
    stream.finish()
    pieces.append(stream.frames())
    np.testing.assert_array_equal(np.concatenate(pieces), compute_fbank(NOISE[:length]))


@pytest.mark.parametrize("samples", [0, 1, 79, 80, 239, 240, 400, 1600])
def test_the_number_of_frames_is_the_rounded_number_of_shifts(samples: int) -> None:
    assert compute_fbank(NOISE[:samples]).shape == ((samples + 80) // 160, 80)


def test_popping_takes_frames_in_order() -> None:
    stream = StreamingFbank()
    stream.accept(NOISE)
    stream.finish()
    first, rest = stream.pop(9), stream.frames()
    np.testing.assert_array_equal(np.concatenate([first, rest]), compute_fbank(NOISE))
    assert stream.ready == 0
    assert stream.frames().shape == (0, 80)


@pytest.mark.parametrize("count", [-1, 101])
def test_popping_frames_that_are_not_ready_is_an_error(count: int) -> None:
    stream = StreamingFbank()
    stream.accept(NOISE)
    with pytest.raises(AudioError, match="99 are ready"):
        stream.pop(count)


def test_audio_after_the_end_is_an_error() -> None:
    stream = StreamingFbank()
    stream.finish()
    stream.finish()
    with pytest.raises(AudioError, match="already finished"):
        stream.accept(NOISE)


@pytest.mark.parametrize(
    "samples", [np.zeros(100, dtype=np.int16), np.zeros((2, 100), dtype=np.float32)]
)
def test_integer_or_multichannel_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(AudioError, match="floating point"):
        StreamingFbank().accept(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    samples = np.zeros(16000, dtype=np.float32)
    samples[-1] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        compute_fbank(samples)


@pytest.mark.parametrize("value", [-17.0, 32767.0, 3e38])
def test_samples_far_beyond_full_scale_are_refused(value: float) -> None:
    samples = np.full(16000, value, dtype=np.float32)
    with pytest.raises(AudioError, match="full scale of floating point samples is 1") as caught:
        compute_fbank(samples)
    assert "divide them by" in str(caught.value.fix)


def test_double_precision_samples_give_the_same_features() -> None:
    np.testing.assert_array_equal(compute_fbank(NOISE.astype(np.float64)), compute_fbank(NOISE))


def test_silence_sits_on_the_floor() -> None:
    floor = np.log(np.finfo(np.float32).eps)
    np.testing.assert_allclose(compute_fbank(np.zeros(1600, np.float32)), floor, atol=1e-4)


@pytest.mark.parametrize("field", [field.name for field in fields(FeatureConfig)])
def test_every_field_is_part_of_the_fingerprint(field: str) -> None:
    default = FeatureConfig()
    assert FeatureConfig().fingerprint == default.fingerprint
    changed = replace(default, **{field: getattr(default, field) + 1})
    assert changed.fingerprint != default.fingerprint
    assert len(default.fingerprint) == 12


def test_the_configuration_reaches_the_extractor() -> None:
    config = FeatureConfig(sample_rate=8000, num_mel_bins=40, frame_shift_ms=20.0)
    assert compute_fbank(NOISE, config).shape == (100, 40)
