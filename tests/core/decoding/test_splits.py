"""Splits of a prepared corpus."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from calve.data.audio import Audio
from calve.data.utterances import Utterance
from calve.decoding import splits
from calve.decoding.splits import Split


def test_a_split_reads_its_manifests_once_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    silence = Audio(np.zeros(160, dtype=np.float32), 16000, 0.01)
    asked = []

    def read_utterances(*split: object) -> list[Utterance]:
        asked.append(split)
        return [Utterance.of_audio("a", silence)]

    monkeypatch.setattr(splits, "read_utterances", read_utterances)
    split = Split("fsdd", tmp_path, "test")
    assert split.utterances() is split.utterances()
    assert asked == [("fsdd", tmp_path, "test")]
    elsewhere = pickle.loads(pickle.dumps(split))
    assert elsewhere == split
    assert [one.name for one in elsewhere.utterances()] == ["a"]
    assert len(asked) == 2
