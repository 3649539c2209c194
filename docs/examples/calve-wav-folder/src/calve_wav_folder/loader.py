"""Batches for training, without augmentation."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from calve.api import CalveError, DataError
from calve.data.audio import read_audio
from calve.data.features import PADDING, compute_fbank
from calve.data.tokens import SymbolTable
from calve.protocols import WHOLE, Batch, LoaderOptions, Shard
from calve_wav_folder.corpus import Row, rows_of
from calve_wav_folder.preparation import TOKENS, WORD_START

_JITTER = 0.1
"""Durations vary by this share before they are sorted, so that epochs group differently."""


def open_loader(
    data_dir: Path,
    split: str,
    options: LoaderOptions,
    *,
    training: bool,
    shard: Shard = WHOLE,
) -> WavFolderBatches:
    """Batches of one split; a `calve.protocols.OpenLoader`.

    Raises:
      DataError: if the split or the symbol table was not prepared, or no utterance is left.
    """
    rows = rows_of(data_dir, split)
    if training:
        longest = options.longest_utterance or float("inf")
        rows = [row for row in rows if options.shortest_utterance <= row.duration <= longest]
    if not rows:
        raise DataError(f"the split {split} has no utterance of an allowed length", where=data_dir)
    maker = BatchMaker(rows, SymbolTable.read(Path(data_dir) / TOKENS))
    return WavFolderBatches(maker, options, shuffle=training, shard=shard)


class WavFolderBatches:
    """A `calve.protocols.BatchLoader`.

    Args:
      maker: Makes a batch of rows.
      options: How the batches are made.
      shuffle: Whether the batches differ from epoch to epoch.
      shard: Which of several processes this is.
    """

    def __init__(
        self, maker: BatchMaker, options: LoaderOptions, *, shuffle: bool, shard: Shard
    ) -> None:
        self._maker = maker
        self._options = options
        self._shuffle = shuffle
        self._shard = shard
        self._epoch = 0
        self._consumed = 0

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch.

        Raises:
          DataError: if a recording cannot be read.
        """
        shard = self._shard
        plan = [step[shard.rank :: shard.world_size] for step in self._steps()]
        for made in self._made(plan[self._consumed :]):
            if isinstance(made, CalveError):
                raise made
            self._consumed += 1
            yield made

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._epoch, self._consumed = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many of its batches were consumed."""
        return {"epoch": self._epoch, "consumed": self._consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where the state says."""
        self._epoch, self._consumed = state["epoch"], state["consumed"]

    def _steps(self) -> list[list[int]]:
        """The rows that all processes together take in each step of the epoch."""
        # A generator of its own: the global one belongs to the training.
        generator = random.Random(f"{self._options.seed} {self._epoch}")
        durations = [row.duration for row in self._maker.rows]
        jitter = _JITTER if self._shuffle else 0.0
        order = sorted(
            range(len(durations)),
            key=lambda row: durations[row] * generator.uniform(1 - jitter, 1 + jitter),
        )
        world_size = self._shard.world_size
        steps: list[list[int]] = [[]]
        for row in order:
            if len(steps[-1]) >= world_size * self._most([*steps[-1], row], durations):
                steps.append([])
            steps[-1].append(row)
        # Every process needs a batch in the last step too.
        last = steps[-1]
        last.extend(order[: max(0, world_size - len(last))])
        while len(last) < world_size:
            last.append(order[0])
        if self._shuffle:
            generator.shuffle(steps)
        return steps

    def _most(self, rows: Sequence[int], durations: Sequence[float]) -> int:
        """How many of these rows fit into a batch, padding included; one always does."""
        return max(1, int(self._options.max_duration / max(durations[row] for row in rows)))

    def _made(self, plan: Sequence[Sequence[int]]) -> Iterable[Batch | CalveError]:
        if not self._options.num_workers:
            return map(self._maker.__getitem__, plan)
        return DataLoader(
            self._maker,
            sampler=plan,
            batch_size=None,
            num_workers=self._options.num_workers,
            collate_fn=_unchanged,
            generator=torch.Generator(),  # the global one would be drawn from otherwise
        )


class BatchMaker(Dataset[Any]):
    """Makes the batch of some rows, in the training process or in another.

    Args:
      rows: The utterances of the split.
      symbols: The symbol table of the corpus.
    """

    def __init__(self, rows: Sequence[Row], symbols: SymbolTable) -> None:
        self.rows = rows
        self._symbols = symbols

    def __getitem__(self, chosen: Sequence[int]) -> Batch | CalveError:
        """The batch of these rows; an error is returned, as a worker cannot raise it whole."""
        rows = [self.rows[number] for number in chosen]
        try:
            features = [
                torch.from_numpy(compute_fbank(read_audio(row.path).samples)) for row in rows
            ]
        except CalveError as error:
            return error
        return Batch(
            features=torch.nn.utils.rnn.pad_sequence(
                features, batch_first=True, padding_value=PADDING
            ),
            feature_lens=torch.tensor([len(one) for one in features]),
            tokens=[self._spelled(row.words) for row in rows],
            cut_ids=[row.name for row in rows],
        )

    def _spelled(self, words: str) -> list[int]:
        spelled = "".join(f"{WORD_START}{word}" for word in words.split())
        return [self._symbols.id(character) for character in spelled]


def _unchanged(made: Any) -> Any:
    return made
