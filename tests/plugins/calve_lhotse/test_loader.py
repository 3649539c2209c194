from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from calve.api import CalveError, ConfigError, DataError
from calve.data.features import compute_fbank
from calve.protocols import Batch
from calve.protocols.loading import WHOLE, Shard
from calve_lhotse.batches import BatchMaker
from calve_lhotse.fsdd.batches import load_batches
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.loader import CutBatches
from calve_lhotse.loader_options import FsddLoaderOptions
from calve_lhotse.sections import section_of
from calve_lhotse.subwords import load_subwords

OPTIONS = FsddLoaderOptions(max_duration=20.0, seed=0, num_buckets=30)


@pytest.fixture
def open_split(prepared: Path):
    def open_split(
        split: str = "train", *, training: bool = True, shard: Shard = WHOLE, **changes: object
    ) -> CutBatches:
        chosen = replace(OPTIONS, **changes)
        return load_batches(prepared, split, chosen, training=training, shard=shard)

    return open_split


def sections_of(cuts: CutSet) -> Callable[[int, int, int | None], CutSet]:
    return lambda epoch, first, count: section_of(cuts, first, count)


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
    assert loader.state_dict() == {"epoch": 0, "section": 0, "batches": 2}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_global_random_state_is_left_alone(open_split, num_workers: int) -> None:
    states = []
    for _ in range(2):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        states.append((random.random(), np.random.rand(), torch.rand(1).item()))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    list(islice(open_split(num_workers=num_workers), 2))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == states[0] == states[1]


def test_worker_processes_change_nothing(open_split) -> None:
    expected = list(open_split(seed=3))
    loader = open_split(seed=3, num_workers=2)
    assert_equal(list(loader), expected)
    loader.load_state_dict({"epoch": 0, "section": 0, "batches": 2})
    assert_equal(list(loader), expected[2:])


def test_batches_that_workers_made_ahead_do_not_count_as_consumed(open_split) -> None:
    loader = open_split(num_workers=2)
    list(islice(loader, 1))
    assert loader.state_dict() == {"epoch": 0, "section": 0, "batches": 1}


def test_several_processes_share_an_epoch_in_steps_of_similar_length(
    open_split, prepared: Path
) -> None:
    expected = sorted(cut.id for cut in load_cuts(prepared, "train"))
    shards = [list(open_split(shard=Shard(rank, 3))) for rank in range(3)]
    assert len({len(shard) for shard in shards}) == 1
    seen = ids([batch for shard in shards for batch in shard])
    assert sorted(name for name in seen if "_dup" not in name) == expected
    assert len(seen) < len(expected) + 3
    for step in zip(*shards, strict=True):
        longest = [int(batch.feature_lens.max()) for batch in step]
        assert max(longest) < 3 * min(longest)


def test_a_share_is_augmented_in_its_own_way_and_resumes_bit_for_bit(open_split) -> None:
    loader = open_split(shard=Shard(1, 2))
    batches = list(loader)
    loader.load_state_dict({"epoch": 0, "section": 0, "batches": 2})
    assert_equal(list(loader), batches[2:])
    other = list(open_split(shard=Shard(0, 2)))
    assert not {*ids(batches)} & {*ids(other)}


def test_without_buckets_an_epoch_is_whole_as_well(open_split, prepared: Path) -> None:
    batches = list(open_split(bucketing_sampler=False))
    assert sorted(ids(batches)) == sorted(cut.id for cut in load_cuts(prepared, "train"))


def test_features_on_the_fly_are_those_that_would_have_been_stored(open_split) -> None:
    stored = list(open_split("valid", training=False))
    computed = list(open_split("valid", training=False, on_the_fly_feats=True))
    assert ids(computed) == ids(stored)
    for one, other in zip(computed, stored, strict=True):
        # lilcom stores multiples of 2**-5, rounded to the nearest.
        torch.testing.assert_close(one.features, other.features, rtol=0, atol=2**-6)


def test_without_spec_augment_training_features_are_as_stored(open_split, prepared: Path) -> None:
    stored = {cut.id: cut.load_features() for cut in load_cuts(prepared, "train")}
    for batch in open_split(enable_spec_aug=False):
        for row, name in enumerate(batch.cut_ids):
            features = batch.features[row, : batch.feature_lens[row]].numpy()
            np.testing.assert_array_equal(features, stored[name])


def is_long(cut: Cut) -> bool:
    return cut.duration > 1


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_noise_is_mixed_into_half_of_the_utterances_well_below_them(
    prepared: Path, on_the_fly: bool
) -> None:
    subwords = load_subwords(prepared / "lang" / "bpe.model")
    noise = load_cuts(prepared, "heldout").filter(is_long).to_eager()
    maker = BatchMaker(subwords, on_the_fly=on_the_fly, noise=noise)
    cuts = load_cuts(prepared, "train")
    batch = maker.make(cuts, (0, 1))
    again, other = maker.make(cuts, (0, 1)), maker.make(cuts, (0, 2))
    assert_equal([batch], [again])
    assert not torch.equal(batch.features, other.features)
    assert batch.cut_ids == [cut.id for cut in cuts]
    ratios = []
    for row, cut in enumerate(cuts):
        clean = cut.load_features().astype(np.float64)
        length = int(batch.feature_lens[row])
        assert length == len(clean)
        energy = np.exp(batch.features[row, :length].numpy().astype(np.float64)).sum()
        ratios.append(energy / np.exp(clean).sum() - 1)
    changed = np.abs(ratios) > 1e-3
    assert 0.3 < changed.mean() < 0.7
    # 10 to 20 dB below: between a hundredth and a tenth of the energy, cross terms aside.
    assert 0.005 < np.median(np.array(ratios)[changed]) < 0.12


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_features_name_the_utterance(
    prepared: Path, open_split, tmp_path: Path, num_workers: int
) -> None:
    cuts = load_cuts(prepared, "valid")
    for cut in cuts:
        cut.features = replace(cut.features, storage_path="/no")
    maker = BatchMaker(load_subwords(prepared / "lang" / "bpe.model"))
    options = replace(OPTIONS, num_workers=num_workers)
    loader = CutBatches(sections_of(cuts), maker, options, shuffle=False)
    with pytest.raises(DataError, match="cannot read the features") as caught:
        list(loader)
    assert caught.value.where in {cut.id for cut in cuts}
    assert "stage `validate`" in caught.value.fix


def test_cuts_without_features_ask_for_on_the_fly_features(prepared: Path) -> None:
    cuts = load_cuts(prepared, "valid").drop_features().to_eager()
    maker = BatchMaker(load_subwords(prepared / "lang" / "bpe.model"))
    with pytest.raises(DataError, match="no stored features") as caught:
        maker.make(cuts, (0,))
    assert "--on-the-fly-feats" in caught.value.fix
    cut = cuts[0]
    made = replace(maker, on_the_fly=True).make(cuts.subset(cut_ids=[cut.id]), (0,))
    np.testing.assert_array_equal(made.features[0], compute_fbank(cut.load_audio()[0]))


def test_cuts_without_audio_ask_for_stored_features(prepared: Path) -> None:
    cuts = load_cuts(prepared, "valid").map(without_recording).to_eager()
    maker = BatchMaker(load_subwords(prepared / "lang" / "bpe.model"), on_the_fly=True)
    with pytest.raises(DataError, match="no audio, only features") as caught:
        maker.make(cuts, (0,))
    assert "--on-the-fly-feats" in caught.value.fix


def without_recording(cut: Cut) -> Cut:
    return replace(cut, recording=None)


def test_a_worker_that_dies_is_a_message(prepared: Path) -> None:
    class Dying(BatchMaker):
        def make(self, cuts, seed):
            os.kill(os.getpid(), signal.SIGKILL)

    maker = Dying(load_subwords(prepared / "lang" / "bpe.model"))
    cuts = load_cuts(prepared, "valid")
    options = replace(OPTIONS, num_workers=1)
    loader = CutBatches(sections_of(cuts), maker, options, shuffle=False)
    with pytest.raises(CalveError, match="a process that makes batches died") as caught:
        list(loader)
    assert "--num-workers" in caught.value.fix


def test_the_noise_of_musan_is_refused_where_utterances_are_noisy_already(open_split) -> None:
    with pytest.raises(ConfigError, match="noisy already"):
        open_split(enable_musan=True)


def test_the_largest_batches_hold_the_longest_utterance_and_keep_the_place(
    open_split, prepared: Path
) -> None:
    loader = open_split(max_duration=5.0)
    batches = list(loader)
    loader.set_epoch(0)
    first = next(iter(loader))
    largest = list(loader.largest_batches())
    assert len({tuple(batch.cut_ids) for batch in largest}) == len(largest)
    longest = max(load_cuts(prepared, "train"), key=lambda cut: cut.duration)
    assert longest.id in ids(largest)
    assert max(len(batch.cut_ids) for batch in largest) == max(len(b.cut_ids) for b in batches)
    assert first.cut_ids + ids(list(loader)) == ids(batches)


def shortened(cuts: CutSet, number: int, seconds: float) -> CutSet:
    """``cuts``, where one lasts only so long."""
    listed = list(cuts)
    listed[number] = listed[number].truncate(duration=seconds, preserve_id=True)
    return CutSet.from_cuts(listed)


@pytest.mark.parametrize("training", [True, False])
def test_utterances_too_short_for_their_symbols_are_left_out_by_name(
    prepared: Path, training: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = load_cuts(prepared, "valid")
    expected = {cut.id for cut in cuts}
    tiny, crowded = cuts[0], cuts[1]
    maker = BatchMaker(load_subwords(prepared / "lang" / "bpe.model"))
    symbols = len(maker.subwords.encode(crowded.supervisions[0].text))
    enough, too_few = (4 * symbols + 6) / 100, (4 * symbols + 3) / 100
    changed = shortened(shortened(cuts, 0, 0.02), 1, too_few)
    loader = CutBatches(sections_of(changed), maker, OPTIONS, shuffle=training)
    assert {*ids(list(loader))} == expected - {tiny.id, crowded.id}
    shown = capsys.readouterr().err
    assert "2 utterances are left out: they are too short" in shown
    assert tiny.id in shown
    assert crowded.id in shown
    loader.set_epoch(1)
    list(loader)
    assert capsys.readouterr().err == ""  # said once
    just_fits = CutBatches(
        sections_of(shortened(cuts, 1, enough)), maker, OPTIONS, shuffle=training
    )
    assert {*ids(list(just_fits))} == expected


def test_without_room_in_shared_memory_batches_come_all_the_same(
    prepared: Path, open_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(open_split(num_workers=0))

    def no_room(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")

    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)  # workers are forked
    assert_equal(list(open_split(num_workers=2)), expected)


def test_no_semaphores_are_a_message_with_the_cure(
    open_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", read_only)
    with pytest.raises(CalveError, match="Read-only file system") as caught:
        list(open_split(num_workers=1))
    assert caught.value.where == "/dev/shm"
    assert "--num-workers 0" in caught.value.fix
