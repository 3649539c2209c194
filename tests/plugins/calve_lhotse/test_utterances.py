"""Cuts as utterances."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calve.data.features import FeatureConfig, compute_fbank
from calve.data.utterances import load_each
from calve.decoding.splits import read_utterances
from calve.errors import DataError
from calve_lhotse.utterances import utterance_of

SAMPLES = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)


def cut(**attributes: Any) -> SimpleNamespace:
    """What calve uses of a lhotse cut."""
    defaults = {
        "id": "cut",
        "duration": 1.0,
        "sampling_rate": 16000,
        "supervisions": [SimpleNamespace(text="one"), SimpleNamespace(text="two")],
        "has_features": False,
        "load_audio": lambda: SAMPLES[np.newaxis],
    }
    return SimpleNamespace(**defaults | attributes)


def test_a_cut_becomes_an_utterance():
    utterance = utterance_of(cut())
    assert (utterance.name, utterance.text, utterance.duration) == ("cut", "one two", 1.0)
    np.testing.assert_array_equal(utterance.audio(16000).samples, SAMPLES)
    np.testing.assert_array_equal(utterance.features(FeatureConfig()), compute_fbank(SAMPLES))


def test_stored_features_are_used_if_they_have_the_right_dimension():
    stored = np.ones((7, 80), dtype=np.float32)
    utterance = utterance_of(cut(has_features=True, num_features=80, load_features=lambda: stored))
    np.testing.assert_array_equal(utterance.features(FeatureConfig()), stored)
    other = FeatureConfig(num_mel_bins=40)
    np.testing.assert_array_equal(utterance.features(other), compute_fbank(SAMPLES, other))


def test_a_cut_of_another_sampling_rate_is_resampled():
    fast = cut(sampling_rate=16000)
    slow = cut(sampling_rate=8000, resample=lambda rate: {16000: fast}[rate])
    np.testing.assert_array_equal(utterance_of(slow).audio(16000).samples, SAMPLES)


def broken() -> np.ndarray:
    raise RuntimeError("the file ends early\nand more")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"supervisions": []}, "no reference"),
        ({"supervisions": [SimpleNamespace(text=None)]}, "no reference"),
        ({"load_audio": broken}, "cannot read the audio: RuntimeError the file ends early"),
        ({"load_audio": lambda: np.empty((1, 0))}, "no samples"),
        ({"load_audio": lambda: np.full((1, 999), np.nan)}, "NaN"),
        (
            {"has_features": True, "num_features": 80, "load_features": broken},
            "cannot read the features",
        ),
    ],
)
def test_a_bad_cut_fails_alone(attributes: dict[str, Any], reason: str):
    utterances = [utterance_of(cut(**attributes)), utterance_of(cut(id="good"))]
    loaded, failures = load_each(utterances, lambda one: one.features(FeatureConfig()))
    assert [one.name for one, _ in loaded] == ["good"]
    assert [one.name for one in failures] == ["cut"]
    assert reason in failures[0].reason


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (gzip.compress(b""), "split test of corpus fsdd is empty"),
        (gzip.compress(b"{}\n"), "cannot read the cuts: TypeError"),
        (gzip.compress(b"no json\n"), "cannot read the cuts: JSONDecodeError"),
        (b"no gzip", "cannot read the cuts: BadGzipFile"),
    ],
    ids=("no cut", "no fields", "no JSON", "no gzip"),
)
def test_an_empty_or_damaged_list_of_cuts_is_refused(
    tmp_path: Path, content: bytes, complaint: str
):
    path = tmp_path / "fbank" / "fsdd_cuts_test.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as raised:
        read_utterances("fsdd", tmp_path, "test")
    assert str(tmp_path) in str(raised.value.where)
