"""The utterances of a corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calve.data.audio import Audio
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.utterances import Utterance, batches_by_duration, load_each
from calve.errors import AudioError

SAMPLES = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)


def lasting(seconds: float) -> Utterance:
    return Utterance(f"{seconds}", "", seconds, lambda sample_rate: Audio(SAMPLES, 16000, seconds))


def test_batches_hold_no_more_than_the_duration_with_their_padding():
    durations = [1.0, 5.0, 2.0, 2.5, 9.0, 30.0, 4.0]
    batches = list(batches_by_duration(map(lasting, durations), 10.0))
    assert [[one.duration for one in batch] for batch in batches] == [
        [30.0],
        [9.0],
        [5.0, 4.0],
        [2.5, 2.0, 1.0],
    ]
    assert list(batches_by_duration([], 10.0)) == []


def test_features_are_those_of_the_audio_unless_some_of_the_dimension_are_stored():
    stored = np.ones((7, 80), dtype=np.float32)
    utterance = replace(
        lasting(1.0), read_features=lambda dimension: stored if dimension == 80 else None
    )
    np.testing.assert_array_equal(utterance.features(FeatureConfig()), stored)
    other = FeatureConfig(num_mel_bins=40)
    np.testing.assert_array_equal(utterance.features(other), compute_fbank(SAMPLES, other))


def broken(_: int) -> Any:
    raise RuntimeError("the file ends early\nand more")


def of_samples(samples: Any) -> Any:
    return lambda sample_rate: Audio(np.asarray(samples, np.float32), sample_rate, 1.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": None}, "no reference"),
        ({"read_audio": broken}, "cannot read the audio: RuntimeError the file ends early"),
        ({"read_audio": of_samples([])}, "no samples"),
        ({"read_audio": of_samples([np.nan] * 999)}, "NaN"),
        ({"read_features": broken}, "cannot read the features"),
    ],
)
def test_a_bad_utterance_fails_alone(changes: dict[str, Any], reason: str):
    utterances = [replace(lasting(1.0), name="bad", **changes), replace(lasting(1.0), name="good")]
    loaded, failures = load_each(utterances, lambda one: one.features(FeatureConfig()))
    assert [one.name for one, _ in loaded] == ["good"]
    assert [one.name for one in failures] == ["bad"]
    assert reason in failures[0].reason


def test_what_is_no_fault_of_an_utterance_is_not_held_against_it():
    with pytest.raises(ZeroDivisionError):
        load_each([lasting(1.0)], lambda one: 1 / 0)
    with pytest.raises(AudioError):
        Utterance.of_audio("empty", Audio(np.empty(0, np.float32), 16000, 0.0)).audio(16000)
