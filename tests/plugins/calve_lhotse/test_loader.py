from __future__ import annotations

import random
from itertools import islice
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from calve.protocols import Batch
from calve_lhotse.fsdd.batches import load_batches
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.loader import CutBatches
from calve_lhotse.subwords import load_subwords


@pytest.fixture
def open_split(prepared: Path):
    def open_split(split: str = "train", *, seed: int = 0, training: bool = True) -> CutBatches:
        return load_batches(prepared, split, max_duration=20.0, seed=seed, training=training)

    return open_split


def ids(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.cut_ids]


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert [batch.cut_ids for batch in one] == [batch.cut_ids for batch in other]
    for first, second in zip(one, other, strict=True):
        torch.testing.assert_close(first.features, second.features, rtol=0, atol=0)


def test_an_epoch_holds_every_utterance_once(open_split, prepared: Path) -> None:
    expected = sorted(cut.id for cut in load_cuts(prepared, "train"))
    loader = open_split()
    for epoch in range(3):
        loader.set_epoch(epoch)
        assert sorted(ids(list(loader))) == expected


def test_epochs_come_in_different_orders_and_seeds_too(open_split) -> None:
    loader = open_split()
    first = ids(list(loader))
    loader.set_epoch(1)
    assert ids(list(loader)) != first
    assert ids(list(open_split(seed=7))) != first


def test_a_batch_is_padded_as_icefall_pads(open_split) -> None:
    for batch in open_split(training=False):
        assert batch.features.dtype == torch.float32
        assert batch.features.shape == (len(batch.cut_ids), int(batch.feature_lens.max()), 80)
        assert batch.feature_lens.dtype == torch.int64
        for features, length in zip(batch.features, batch.feature_lens, strict=True):
            assert torch.all(features[length:] == torch.tensor(log(1e-10)))
            assert torch.all(features[:length] > -17)


def test_a_batch_is_full_without_its_longest_utterance_at_the_latest(open_split) -> None:
    for batch in open_split():
        lengths = batch.feature_lens
        assert int(lengths.sum() - lengths.max()) <= 20.0 * 100


def test_tokens_spell_the_transcripts(open_split, prepared: Path) -> None:
    subwords = load_subwords(prepared / "lang" / "bpe.model")
    texts = {cut.id: cut.supervisions[0].text for cut in load_cuts(prepared, "test")}
    for batch in open_split("test", training=False):
        for name, tokens in zip(batch.cut_ids, batch.tokens, strict=True):
            assert subwords.decode(tokens) == texts[name]


def test_validation_is_untouched_and_in_a_fixed_order(open_split, prepared: Path) -> None:
    loader = open_split("valid", training=False)
    batches = list(loader)
    loader.set_epoch(5)
    assert_equal(batches, list(loader))
    stored = {cut.id: cut.load_features() for cut in load_cuts(prepared, "valid")}
    for batch in batches:
        for row, name in enumerate(batch.cut_ids):
            features = batch.features[row, : batch.feature_lens[row]].numpy()
            np.testing.assert_array_equal(features, stored[name])


def test_most_training_features_are_masked_and_differently_in_every_epoch(
    open_split, prepared
) -> None:
    stored = {cut.id: cut.load_features() for cut in load_cuts(prepared, "train")}
    loader, seen = open_split(), []
    for epoch in range(2):
        loader.set_epoch(epoch)
        rows = {}
        for batch in loader:
            for row, name in enumerate(batch.cut_ids):
                rows[name] = batch.features[row, : batch.feature_lens[row]].numpy()
        seen.append(rows)
    changed = [not np.array_equal(seen[0][name], stored[name]) for name in stored]
    assert 0.3 < np.mean(changed) < 0.9
    assert np.mean([not np.array_equal(seen[0][name], seen[1][name]) for name in stored]) > 0.7


@pytest.mark.parametrize("consumed", [0, 1, 3])
def test_a_resumed_loader_goes_on_bit_for_bit(open_split, consumed: int) -> None:
    loader = open_split()
    loader.set_epoch(2)
    batches = iter(loader)
    for _ in range(consumed):
        next(batches)
    state = loader.state_dict()
    rest = list(batches)

    resumed = open_split()
    resumed.load_state_dict(state)
    assert_equal(list(resumed), rest)


def test_the_state_is_plain_numbers(open_split) -> None:
    loader = open_split()
    list(islice(loader, 2))
    assert loader.state_dict() == {"epoch": 0, "batches": 2}


def test_the_global_random_state_is_left_alone(open_split) -> None:
    states = []
    for _ in range(2):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        states.append((random.random(), np.random.rand(), torch.rand(1).item()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    list(islice(open_split(), 2))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == states[0] == states[1]
