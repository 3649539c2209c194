"""The order of batches, and their way from the disk into the training process."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler
from lhotse.dataset.sampling.base import CutSampler
from lhotse.dataset.sampling.utils import find_pessimistic_batches
from torch.utils.data import DataLoader, Dataset

from calve.api import CalveError
from calve.common.parallel import check_semaphores
from calve.protocols import Batch
from calve.protocols.loading import WHOLE, Shard
from calve_lhotse.batches import BatchMaker
from calve_lhotse.fitness import Fitness
from calve_lhotse.loader_options import LhotseLoaderOptions
from calve_lhotse.sharing import PipedBatch, handed_over, received

__all__ = ["CutBatches"]

_CUTS_PER_BUCKET = 100
_CUTS_PER_SECTION = 50_000

Job = tuple[CutSet, tuple[int, ...]]
"""The cuts of one batch, and the seed of everything random in it."""


@dataclass(frozen=True)
class _Place:
    """After so many batches of a section of an epoch."""

    section: int
    batches: int


class CutBatches:
    """A `calve.protocols.BatchLoader` over lhotse cuts.

    Batch k of epoch n depends on the options, n, k and the shard alone, so a resumed run sees
    what an uninterrupted one would have seen, whatever the number of worker processes. The cuts of
    an epoch are sampled in sections, each by itself, so a run that continues late in an epoch
    samples one section again, at most, instead of all that came before. Utterances that cannot be
    trained on (`Fitness`) are left out, and named when an epoch ends.

    Args:
      open_section: ``(epoch, first, count) -> CutSet``: the utterances from number ``first`` on, at
        most ``count``, all if that is None; read from the disk as they are needed or held in
        memory. They come in the same order whenever the epoch is the same.
      maker: Makes a batch of cuts.
      options: ``max_duration`` is in seconds; one long utterance may exceed it a little.
      shuffle: Whether the order differs from epoch to epoch.
      shard: Of several processes, which one this is.
      cuts_per_section: The last batches of a section are less full, and those of a bucket come
        from one section.
    """

    def __init__(
        self,
        open_section: Callable[[int, int, int | None], CutSet],
        maker: BatchMaker,
        options: LhotseLoaderOptions,
        *,
        shuffle: bool,
        shard: Shard = WHOLE,
        cuts_per_section: int = _CUTS_PER_SECTION,
    ) -> None:
        self._open_section = open_section
        self._maker = maker
        self._options = options
        self._shuffle = shuffle
        self._shard = shard
        self._cuts_per_section = cuts_per_section
        self._fitness = Fitness(maker.subwords)
        self._epoch = 0
        self._place = _Place(section=0, batches=0)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch.

        Raises:
          DataError: if an utterance cannot be read.
          CalveError: if a worker process dies, or cannot be started.
        """
        # Where each job leads; workers are given jobs ahead of the batches that are handed out.
        places: deque[_Place] = deque()
        with _worker_deaths_explained():
            for made in self._loader(self._jobs(places)):
                if isinstance(made, CalveError):
                    raise made
                self._place = places.popleft()
                yield received(made)
        self._fitness.report()

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._epoch = epoch
        self._place = _Place(section=0, batches=0)

    def state_dict(self) -> dict[str, Any]:
        """Where we are: the epoch, its section, and how many batches of that were handed out."""
        return {"epoch": self._epoch, **asdict(self._place)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where `state_dict` was taken.

        Batches of the same section before it are counted off, not made.
        """
        self._epoch = int(state["epoch"])
        self._place = _Place(int(state.get("section", 0)), int(state["batches"]))

    def largest_batches(self) -> Iterator[Batch]:
        """Batches of the current epoch that need most memory, each in another respect.

        The place in the epoch stays what it is.
        """
        whole_epoch = self._open_section(self._epoch, 0, None).filter(self._is_trained_on)
        largest, _ = find_pessimistic_batches(self._sampler(whole_epoch))
        for cuts in {tuple(cuts.ids): cuts for cuts in largest.values()}.values():
            yield self._maker.make(cuts, (self._options.seed, self._epoch, 0))

    def _jobs(self, places: deque[_Place]) -> Iterator[Job]:
        """What is left of the epoch; ``places`` receives where we are when a job is done."""
        for section in count(self._place.section):
            first = section * self._cuts_per_section
            cuts = self._open_section(self._epoch, first, self._cuts_per_section)
            if next(iter(cuts), None) is None:
                return
            cuts = cuts.filter(self._is_trained_on if self._shuffle else self._fitness)
            done = self._place.batches if section == self._place.section else 0
            batches = enumerate(self._sampler(cuts))
            for step, batch in islice(batches, done, None):
                places.append(_Place(section, step + 1))
                # The number of the batch among those of all processes.
                number = step * self._shard.world_size + self._shard.rank
                yield batch, (self._options.seed, self._epoch, section, number)

    def _loader(self, jobs: Iterable[Job]) -> Iterable[Batch | PipedBatch | CalveError]:
        workers = self._options.num_workers
        if not workers:
            return (self._maker.make(*job) for job in jobs)
        check_semaphores("--num-workers 0")
        return DataLoader(
            _Making(self._maker),
            sampler=jobs,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            # Of its own: a run that continues would draw from the global one once more.
            generator=torch.Generator(),
        )

    def _sampler(self, cuts: CutSet) -> CutSampler:
        settings: dict[str, Any] = {
            "max_duration": self._options.max_duration,
            "shuffle": self._shuffle,
            "drop_last": False,
            "seed": self._options.seed,
            "world_size": self._shard.world_size,
            "rank": self._shard.rank,
        }
        with warnings.catch_warnings():
            # lhotse would rather have lazy cuts, to save memory that small corpora do not need.
            warnings.filterwarnings("ignore", message="You are using Dynamic")
            sampler: CutSampler
            buckets = self._num_buckets(cuts) if self._options.bucketing_sampler else 1
            if buckets > 1:
                # `sync_buckets` stays on: without it, lhotse 1.33 ends an epoch at the first
                # bucket that is empty, whatever the others still hold.
                sampler = DynamicBucketingSampler(cuts, num_buckets=buckets, **settings)
            else:
                sampler = DynamicCutSampler(cuts, **settings)
        sampler.set_epoch(self._epoch)
        return sampler

    def _is_trained_on(self, cut: Cut) -> bool:
        longest = self._options.longest_utterance or math.inf
        is_chosen = self._options.shortest_utterance <= cut.duration <= longest
        return bool(is_chosen) and self._fitness(cut)

    def _num_buckets(self, cuts: CutSet) -> int:
        most = self._options.num_buckets
        enough = sum(1 for _ in islice(cuts, most * _CUTS_PER_BUCKET))
        return max(enough // _CUTS_PER_BUCKET, min(enough, 2))


class _Making(Dataset[Any]):
    """What worker processes do: item "job" of this data set is the batch of that job."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, job: Job) -> Batch | PipedBatch | CalveError:
        try:
            return handed_over(self._maker.make(*job))
        except CalveError as error:
            # Raised here, it would reach the training process as the text of a traceback.
            return error


def _unchanged(made: Any) -> Any:
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
            fix="give it more memory, or fewer --num-workers",
        ) from error
