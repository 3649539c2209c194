"""Conformance checks of corpora: loaders."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

import numpy as np

from calve.common.config import resolve
from calve.data.features import PADDING, FeatureConfig
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.protocols import Batch, BatchLoader
from calve.protocols.loading import WHOLE, LoaderOptions, Shard
from calve.testing.checks import check_options, fail, require
from calve.testing.corpora import Prepared

if TYPE_CHECKING:
    from calve.registry.specs import DatasetSpec

__all__ = ["LoaderChecks"]

_BATCHES = 3
_PROCESSES = 2


class LoaderChecks:
    """The checks of batches in `calve.testing.DatasetConformance`."""

    loader_options: ClassVar[Mapping[str, Any]] = {}

    def test_its_loader_options_explain_themselves(self) -> None:
        if self._spec().loader is None:
            raise SkipTest("the corpus is not for training")
        options = self._spec().loader_options.load()
        require(
            isinstance(options, type) and issubclass(options, LoaderOptions),
            f"{self._spec().loader_options.target} is no subclass of "
            "calve.protocols.loading.LoaderOptions",
        )
        check_options(options)

    def test_batches_are_what_training_takes(self) -> None:
        import torch

        for split, training in (("train", True), ("valid", False)):
            for batch in islice(self._open(split, training), _BATCHES):
                shape = tuple(batch.features.shape)
                count = len(batch.cut_ids)
                require(
                    batch.features.dtype == torch.float32
                    and shape[::2] == (count, FeatureConfig().num_mel_bins)
                    and bool(batch.features.isfinite().all()),
                    f"{count} utterances of {split} have features of the shape {shape} in "
                    f"{batch.features.dtype}; training takes finite float32 (N, T, "
                    f"{FeatureConfig().num_mel_bins})",
                )
                require(
                    batch.feature_lens.dtype == torch.int64
                    and tuple(batch.feature_lens.shape) == (count,)
                    and int(batch.feature_lens.max()) == shape[1]
                    and int(batch.feature_lens.min()) > 0,
                    f"the lengths {batch.feature_lens.tolist()} in {batch.feature_lens.dtype} do "
                    f"not belong to features of the shape {shape}",
                )
                for row, length in zip(batch.features, batch.feature_lens.tolist(), strict=True):
                    require(
                        bool((row[length:] - PADDING).abs().lt(1e-3).all()),
                        f"an utterance is not padded with log(1e-10) = {PADDING:.2f}",
                    )

    def test_transcripts_are_spelled_in_symbols(self) -> None:
        symbols = self._symbols()
        for split, training in (("train", True), ("valid", False)):
            for batch in islice(self._open(split, training), _BATCHES):
                require(
                    len(batch.tokens) == len(batch.cut_ids),
                    f"{len(batch.cut_ids)} utterances have {len(batch.tokens)} transcripts",
                )
                for name, tokens in zip(batch.cut_ids, batch.tokens, strict=True):
                    allowed = set(range(len(symbols))) - {symbols.blank_id, symbols.unk_id}
                    require(
                        bool(tokens) and set(tokens) <= allowed,
                        f"the transcript of {name} is {tokens}: symbols of {len(symbols)}, neither "
                        f"blank nor <unk>, are needed",
                    )

    def test_an_epoch_holds_each_utterance_once(self) -> None:
        for split, training in (("train", True), ("valid", False)):
            names = self._names(self._open(split, training))
            require(len(names) == len(set(names)), f"an epoch of {split} holds an utterance twice")
            known = {utterance.name for utterance in self._utterances(split)}
            require(
                set(names) == known,
                f"an epoch of {split} holds {len(set(names))} of {len(known)} utterances",
            )

    def test_the_same_seed_gives_the_same_batches(self) -> None:
        first, again = (self._some(self._open("train", True)) for _ in range(2))
        _compare(again, first, "opened twice with the same seed")
        loader = self._open("train", True)
        self._some(loader)
        loader.set_epoch(0)
        _compare(self._some(loader), first, "sent back to the first batch")

    def test_another_epoch_or_seed_gives_other_batches(self) -> None:
        first = self._some(self._open("train", True))
        other = self._open("train", True)
        other.set_epoch(1)
        seed = self._loading().seed + 1
        for loader, what in ((other, "epoch"), (self._open("train", True, seed=seed), "seed")):
            require(
                [batch.cut_ids for batch in self._some(loader)]
                != [batch.cut_ids for batch in first],
                f"another {what} gives the same batches in the same order",
            )

    def test_validation_is_the_same_in_every_epoch(self) -> None:
        loader = self._open("valid", False)
        first = list(loader)
        loader.set_epoch(3)
        _compare(list(loader), first, "in another epoch of validation")

    def test_it_goes_on_where_it_was(self) -> None:
        loader = self._open("train", True)
        loader.set_epoch(1)
        expected = self._some(loader)
        stopped = self._open("train", True)
        stopped.set_epoch(1)
        batches = iter(stopped)
        next(batches)
        state = json.loads(json.dumps(stopped.state_dict()))
        resumed = self._open("train", True)
        resumed.load_state_dict(state)
        _compare(self._some(resumed)[: len(expected) - 1], expected[1:], "after it was resumed")

    def test_processes_share_an_epoch(self) -> None:
        shards = [
            [batch.cut_ids for batch in self._open("train", True, shard=Shard(rank, _PROCESSES))]
            for rank in range(_PROCESSES)
        ]
        counts = [len(shard) for shard in shards]
        require(
            len(set(counts)) == 1,
            f"{_PROCESSES} processes get {' and '.join(map(str, counts))} batches: the one that "
            "gets more would wait for the others for ever",
        )
        seen = [name for shard in shards for names in shard for name in names]
        known = {utterance.name for utterance in self._utterances("train")}
        missing = known - {*seen}
        require(not missing, f"no process sees {len(missing)} of {len(known)} utterances")
        repeated = len(seen) - len(known)
        require(
            repeated < _PROCESSES,
            f"{repeated} of {len(known)} utterances are seen by both processes: each has a shard "
            "of its own",
        )

    def test_random_numbers_of_others_stay_what_they_were(self) -> None:
        loader = self._open("train", True)
        before = _global_random_state()
        self._some(loader)
        require(
            _global_random_state() == before,
            "reading batches changes the global random numbers, so training cannot be repeated: "
            "use a generator of its own",
        )

    # What `DatasetConformance` adds.

    def _spec(self) -> DatasetSpec:
        raise NotImplementedError

    def _kept(self) -> Prepared:
        raise NotImplementedError

    def _utterances(self, split: str) -> Iterator[Utterance]:
        raise NotImplementedError

    def _loading(self) -> LoaderOptions:
        options: LoaderOptions = resolve(
            self._spec().loader_options.load(), {"num_workers": 0, **self.loader_options}
        )
        return options

    def _open(
        self, split: str, training: bool, *, seed: int | None = None, shard: Shard = WHOLE
    ) -> BatchLoader:
        reference = self._spec().loader
        if reference is None:
            raise SkipTest("the corpus is not for training")
        options = self._loading()
        if seed is not None:
            options = replace(options, seed=seed)
        loader: BatchLoader = reference.load()(
            self._kept().data_dir, split, options, training=training, shard=shard
        )
        return loader

    def _some(self, loader: BatchLoader) -> list[Batch]:
        batches = list(islice(loader, _BATCHES))
        if len(batches) < _BATCHES:
            fail(
                f"an epoch has {len(batches)} batches, too few to see an order: give a smaller "
                "max_duration in loader_options"
            )
        return batches

    def _names(self, loader: BatchLoader) -> list[str]:
        return [name for batch in loader for name in batch.cut_ids]

    def _symbols(self) -> SymbolTable:
        if self._spec().loader is None:
            raise SkipTest("the corpus is not for training")
        return SymbolTable.read(self._kept().data_dir / self._spec().tokens)


def _global_random_state() -> list[Any]:
    import torch

    of_numpy: Any = np.random.get_state()
    return [random.getstate(), of_numpy[1].tolist(), torch.get_rng_state().tolist()]


def _compare(actual: list[Batch], expected: list[Batch], what: str) -> None:
    import torch

    require(
        len(actual) == len(expected),
        f"{what}, it gives {len(actual)} batches, and otherwise {len(expected)}",
    )
    for one, other in zip(actual, expected, strict=True):
        require(
            one.cut_ids == other.cut_ids and one.tokens == other.tokens,
            f"{what}, it gives {', '.join(one.cut_ids[:3])} … where it gave "
            f"{', '.join(other.cut_ids[:3])} …",
        )
        require(
            torch.equal(one.features, other.features)
            and torch.equal(one.feature_lens, other.feature_lens),
            f"{what}, it gives the same utterances with other features",
        )
