"""The utterances of a corpus."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calve.data.audio import Audio
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.utterances import Utterance, batches_by_duration, load_each
from calve.decoding.splits import read_utterances
from calve.errors import AudioError, DataError, PluginError
from calve.registry.catalog import registry

SAMPLES = np.random.default_rng(0).normal(scale=0.1, size=16000).astype(np.float32)


def lasting(seconds: float) -> Utterance:
    return Utterance(f"{seconds}", "", seconds, lambda sample_rate: Audio(SAMPLES, 16000, seconds))


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


def test_a_cut_becomes_an_utterance():
    utterance = Utterance.of_cut(cut())
    assert (utterance.name, utterance.text, utterance.duration) == ("cut", "one two", 1.0)
    np.testing.assert_array_equal(utterance.audio(16000).samples, SAMPLES)
    np.testing.assert_array_equal(utterance.features(FeatureConfig()), compute_fbank(SAMPLES))


def test_stored_features_are_used_if_they_have_the_right_dimension():
    stored = np.ones((7, 80), dtype=np.float32)
    of_cut = Utterance.of_cut(cut(has_features=True, num_features=80, load_features=lambda: stored))
    np.testing.assert_array_equal(of_cut.features(FeatureConfig()), stored)
    other = FeatureConfig(num_mel_bins=40)
    np.testing.assert_array_equal(of_cut.features(other), compute_fbank(SAMPLES, other))


def test_a_cut_of_another_sampling_rate_is_resampled():
    fast = cut(sampling_rate=16000)
    slow = cut(sampling_rate=8000, resample=lambda rate: {16000: fast}[rate])
    np.testing.assert_array_equal(Utterance.of_cut(slow).audio(16000).samples, SAMPLES)


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
    utterances = [Utterance.of_cut(cut(**attributes)), Utterance.of_cut(cut(id="good"))]
    loaded, failures = load_each(utterances, lambda one: one.features(FeatureConfig()))
    assert [one.name for one, _ in loaded] == ["good"]
    assert [one.name for one in failures] == ["cut"]
    assert reason in failures[0].reason


def test_what_is_no_fault_of_an_utterance_is_not_held_against_it():
    with pytest.raises(ZeroDivisionError):
        load_each([lasting(1.0)], lambda one: 1 / 0)
    with pytest.raises(AudioError):
        Utterance.of_audio("empty", Audio(np.empty(0, np.float32), 16000, 0.0)).audio(16000)


def test_an_unknown_split_is_an_error_that_lists_the_splits(tmp_path: Path):
    with pytest.raises(DataError, match="exam") as caught:
        read_utterances("fsdd", tmp_path, "exam")
    assert "heldout" in str(caught.value.fix)


def test_an_unknown_corpus_is_an_error(tmp_path: Path):
    with pytest.raises(PluginError, match="fsdd"):
        read_utterances("fsddd", tmp_path, "test")


@pytest.mark.parametrize(
    ("cuts", "complaint"), [([], "is empty"), ([cut(), cut()], "two cuts .* called cut")]
)
def test_a_split_without_cuts_or_with_two_of_a_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuts: list[Any], complaint: str
):
    import calve_lhotse.fsdd.cuts

    assert registry().datasets.get("fsdd").cuts.target == "calve_lhotse.fsdd.cuts:load_cuts"
    monkeypatch.setattr(calve_lhotse.fsdd.cuts, "load_cuts", lambda data_dir, split: cuts)
    with pytest.raises(DataError, match=complaint):
        read_utterances("fsdd", tmp_path, "test")


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
