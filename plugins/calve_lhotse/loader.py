"""The order of batches, and their way from the disk into the training process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler
from lhotse.dataset.sampling.base import CutSampler
from lhotse.dataset.sampling.utils import find_pessimistic_batches
from torch.utils.data import DataLoader, Dataset

from calve.api import CalveError
from calve.loading import WHOLE, LoaderOptions, Share
from calve.protocols import Batch
from calve_lhotse.batches import BatchMaker

__all__ = ["CutBatches"]

_CUTS_PER_BUCKET = 100

Job = tuple[CutSet, tuple[int, ...]]
"""The cuts of one batch, and the seed of everything random in it."""


class CutBatches:
    """A `calve.protocols.BatchLoader` over lhotse cuts.

    Batch k of epoch n depends on the options, n, k and the share alone, so a resumed run sees
    what an uninterrupted one would have seen, whatever the number of worker processes.

    Args:
      open_cuts: ``(epoch) -> CutSet``: the utterances, read from the disk as they are needed or
        held in memory. They come in the same order whenever the epoch is the same.
      maker: Makes a batch of cuts.
      options: ``max_duration`` is in seconds; one long utterance may exceed it a little.
      shuffle: Whether the order differs from epoch to epoch.
      share: Of several processes, which one this is.
    """

    def __init__(
        self,
        open_cuts: Callable[[int], CutSet],
        maker: BatchMaker,
        options: LoaderOptions,
        *,
        shuffle: bool,
        share: Share = WHOLE,
    ) -> None:
        self._open_cuts = open_cuts
        self._maker = maker
        self._options = options
        self._shuffle = shuffle
        self._share = share
        self._epoch = 0
        self._consumed = 0

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch.

        Raises:
          DataError: if an utterance cannot be read.
          CalveError: if a worker process dies.
        """
        with _worker_deaths_explained():
            for made in self._loader(islice(self._jobs(), self._consumed, None)):
                if isinstance(made, CalveError):
                    raise made
                self._consumed += 1
                yield made

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._epoch = epoch
        self._consumed = 0

    def state_dict(self) -> dict[str, Any]:
        """Where we are: the epoch, and how many of its batches were handed out."""
        return {"epoch": self._epoch, "batches": self._consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where `state_dict` was taken; batches before it are counted off, not made."""
        self._epoch = int(state["epoch"])
        self._consumed = int(state["batches"])

    def largest_batches(self) -> Iterator[Batch]:
        """Batches of the current epoch that need most memory, each in another respect.

        The place in the epoch stays what it is.
        """
        sampler = self._sampler()
        sampler.set_epoch(self._epoch)
        largest, _ = find_pessimistic_batches(sampler)
        for cuts in {tuple(cuts.ids): cuts for cuts in largest.values()}.values():
            yield self._maker.make(cuts, (self._options.seed, self._epoch, 0))

    def _jobs(self) -> Iterator[Job]:
        sampler = self._sampler()
        sampler.set_epoch(self._epoch)
        for step, cuts in enumerate(sampler):
            # The number of the batch among those of all processes.
            number = step * self._share.world_size + self._share.rank
            yield cuts, (self._options.seed, self._epoch, number)

    def _loader(self, jobs: Iterable[Job]) -> Iterable[Batch | CalveError]:
        workers = self._options.num_workers
        if not workers:
            return (self._maker.make(*job) for job in jobs)
        return DataLoader(
            _Making(self._maker),
            sampler=jobs,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            # Of its own: a run that continues would draw from the global one once more.
            generator=torch.Generator(),
        )

    def _sampler(self) -> CutSampler:
        cuts = self._open_cuts(self._epoch)
        settings: dict[str, Any] = {
            "max_duration": self._options.max_duration,
            "shuffle": self._shuffle,
            "drop_last": False,
            "seed": self._options.seed,
            "world_size": self._share.world_size,
            "rank": self._share.rank,
        }
        with warnings.catch_warnings():
            # lhotse would rather have lazy cuts, to save memory that small corpora do not need.
            warnings.filterwarnings("ignore", message="You are using Dynamic")
            if not self._options.bucketing_sampler:
                return DynamicCutSampler(cuts, **settings)
            # `sync_buckets` stays on: without it, lhotse 1.33 ends an epoch at the first bucket
            # that is empty, whatever the others still hold.
            return DynamicBucketingSampler(cuts, num_buckets=self._num_buckets(cuts), **settings)

    def _num_buckets(self, cuts: CutSet) -> int:
        most = self._options.num_buckets
        enough = sum(1 for _ in islice(cuts, most * _CUTS_PER_BUCKET))
        return max(enough // _CUTS_PER_BUCKET, 2)


class _Making(Dataset[Any]):
    """What worker processes do: item "job" of this data set is the batch of that job."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, job: Job) -> Batch | CalveError:
        try:
            return self._maker.make(*job)
        except CalveError as error:
            # Raised here, it would reach the training process as the text of a traceback.
            return error


def _unchanged(made: Batch | CalveError) -> Batch | CalveError:
    return made


@contextmanager
def _worker_deaths_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise CalveError(
            f"a process that makes batches died: {error}",
            fix="give it more memory (and /dev/shm), or fewer --num-workers",
        ) from error
