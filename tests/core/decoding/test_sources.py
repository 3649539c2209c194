"""What decoding works on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from calve.data.audio import Audio
from calve.data.utterances import Utterance
from calve.decoding import sources
from calve.decoding.sources import Model
from calve.decoding.splits import Split
from calve.models.checkpoints import CheckpointChoice


def test_a_split_reads_its_manifests_once_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    silence = Audio(np.zeros(160, dtype=np.float32), 16000, 0.01)
    asked = []

    def read_utterances(*split: object) -> list[Utterance]:
        asked.append(split)
        return [Utterance.of_audio("a", silence)]

    monkeypatch.setattr(sources, "read_utterances", read_utterances)
    split = Split("fsdd", tmp_path, "test")
    assert split.utterances() is split.utterances()
    assert asked == [("fsdd", tmp_path, "test")]
    elsewhere = pickle.loads(pickle.dumps(split))
    assert elsewhere == split
    assert [one.name for one in elsewhere.utterances()] == ["a"]
    assert len(asked) == 2


def test_a_fingerprint_is_the_same_after_it_was_written_to_a_file(tmp_path: Path):
    (tmp_path / "epoch-1.pt").touch()
    options = {"num_layers": (2, 4), "cache": Path("cache"), "causal": True, "limit": None}
    choice = CheckpointChoice(exp_dir=tmp_path, epoch=1)
    fingerprint = Model("acme", choice, {"encoder": options}).fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    for name, other in (("num_layers", (2, 5)), ("causal", False), ("limit", 3)):
        changed = Model("acme", choice, {"encoder": {**options, name: other}})
        assert changed.fingerprint() != fingerprint
