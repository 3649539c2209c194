"""The splits of a prepared corpus."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from calve.data.audio import Audio
from calve.data.utterances import Utterance
from calve.decoding import splits
from calve.decoding.splits import Split, read_utterances
from calve.errors import DataError, PluginError
from calve.registry.specs import DatasetSpec

ONE = Utterance.of_audio("one", Audio(np.zeros(16000, np.float32), 16000, 1.0), "one")
TWO = Utterance.of_audio("two", Audio(np.zeros(16000, np.float32), 16000, 1.0), "two")

given: list[Utterance] = []


def utterances(data_dir: Path, split: str) -> list[Utterance]:
    return given


def unreadable(data_dir: Path, split: str) -> list[Utterance]:
    raise RuntimeError("no such table")


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes "sighs" the only corpus, whose utterances a function of this module gives."""

    def register(name: str = "utterances", *found: Utterance) -> None:
        given[:] = found
        reference: Any = SimpleNamespace(load=lambda: globals()[name])
        nothing: Any = None
        corpus = DatasetSpec("sighs", nothing, (), reference, ("train", "heldout"), "sighs")
        datasets = SimpleNamespace(get=lambda name: corpus)
        monkeypatch.setattr(splits, "registry", lambda: SimpleNamespace(datasets=datasets))

    return register


def test_utterances_come_by_name(register: Any, tmp_path: Path) -> None:
    register("utterances", TWO, ONE)
    assert read_utterances("sighs", tmp_path, "heldout") == [ONE, TWO]


def test_an_unknown_split_is_an_error_that_lists_the_splits(register: Any, tmp_path: Path) -> None:
    register()
    with pytest.raises(DataError, match="exam") as caught:
        read_utterances("sighs", tmp_path, "exam")
    assert "heldout" in str(caught.value.fix)


def test_an_unknown_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="no-such-corpus"):
        read_utterances("no-such-corpus", tmp_path, "test")


@pytest.mark.parametrize(
    ("found", "complaint"),
    [([], "split train of corpus sighs is empty"), ([ONE, ONE], "two utterances .* called one")],
)
def test_a_split_without_utterances_or_with_two_of_a_name_is_refused(
    register: Any, tmp_path: Path, found: list[Utterance], complaint: str
) -> None:
    register("utterances", *found)
    with pytest.raises(DataError, match=complaint):
        read_utterances("sighs", tmp_path, "train")


def test_the_exception_of_a_corpus_becomes_an_error_that_names_the_split(
    register: Any, tmp_path: Path
) -> None:
    register("unreadable")
    with pytest.raises(DataError, match="utterances of split train: RuntimeError no such table"):
        read_utterances("sighs", tmp_path, "train")


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
