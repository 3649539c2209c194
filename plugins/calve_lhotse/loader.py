"""Batches of prepared utterances.

Everything happens in the training process: features lie as matrices on the disk, which after the
first epoch means in the system's page cache, and reading a batch takes a few milliseconds.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from math import log
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler, SpecAugment
from sentencepiece import SentencePieceProcessor

from calve.protocols import Batch

__all__ = ["PADDING", "CutBatches"]

PADDING = log(1e-10)
"""What icefall pads features with; its encoders do not mask the last frame."""

_CUTS_PER_BUCKET = 100
_MOST_BUCKETS = 12


class CutBatches:
    """A `calve.protocols.BatchLoader` over lhotse cuts with precomputed features.

    Batch k of epoch n depends on the seed, n and k alone, so a resumed run sees what an
    uninterrupted one would have seen.

    Args:
      cuts: Utterances, each with one supervision and features.
      subwords: Turns their texts into symbol ids.
      max_duration: Seconds of audio in a batch; one long utterance may exceed them a little.
      seed: What order and augmentation follow from.
      training: Whether utterances are shuffled and masked (SpecAugment); else the order is
        fixed and nothing is random.
    """

    def __init__(
        self,
        cuts: CutSet,
        subwords: SentencePieceProcessor,
        *,
        max_duration: float,
        seed: int,
        training: bool,
    ) -> None:
        self._subwords = subwords
        self._seed = seed
        self._augment = _spec_augment() if training else None
        self._sampler = _sampler(cuts, max_duration=max_duration, seed=seed, shuffle=training)
        self._epoch = 0
        self._consumed = 0

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch."""
        self._sampler.set_epoch(self._epoch)
        for cuts in islice(self._sampler, self._consumed, None):
            index = self._consumed
            self._consumed += 1
            yield self._batch(cuts, index)

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of an epoch."""
        self._epoch = epoch
        self._consumed = 0

    def state_dict(self) -> dict[str, Any]:
        """Where we are: the epoch, and how many of its batches were handed out."""
        return {"epoch": self._epoch, "batches": self._consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go where `state_dict` was taken."""
        self._epoch = int(state["epoch"])
        self._consumed = int(state["batches"])

    def _batch(self, cuts: CutSet, index: int) -> Batch:
        features, feature_lens = _collate(cuts)
        if self._augment is not None:
            with _seeded(self._seed, self._epoch, index):
                for row, length in enumerate(feature_lens.tolist()):
                    features[row, :length] = self._augment(features[row : row + 1, :length])[0]
        texts = [cut.supervisions[0].text for cut in cuts]
        return Batch(
            features=features,
            feature_lens=feature_lens,
            tokens=self._subwords.encode(texts),
            cut_ids=[cut.id for cut in cuts],
        )


def _sampler(
    cuts: CutSet, *, max_duration: float, seed: int, shuffle: bool
) -> DynamicBucketingSampler:
    with warnings.catch_warnings():
        # lhotse would rather have lazy cuts, to save memory that these corpora do not need.
        warnings.filterwarnings("ignore", message="You are using DynamicBucketingSampler")
        # `sync_buckets` stays on: without it, lhotse 1.33 ends an epoch at the first bucket that
        # is empty, whatever the others still hold.
        return DynamicBucketingSampler(
            cuts,
            max_duration=max_duration,
            num_buckets=min(max(len(cuts) // _CUTS_PER_BUCKET, 2), _MOST_BUCKETS),
            shuffle=shuffle,
            drop_last=False,
            seed=seed,
            world_size=1,
            rank=0,
        )


def _collate(cuts: CutSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, T, C) float32, padded at the end, and their lengths (N,) int64."""
    matrices = [torch.from_numpy(cut.load_features()) for cut in cuts]
    features = torch.nn.utils.rnn.pad_sequence(matrices, batch_first=True, padding_value=PADDING)
    return features, torch.tensor([len(matrix) for matrix in matrices])


def _spec_augment() -> SpecAugment:
    # Milder than for sentences: a digit lasts 40 frames, and most of the data end at 4 kHz.
    return SpecAugment(
        time_warp_factor=10,
        num_feature_masks=1,
        features_mask_size=12,
        num_frame_masks=2,
        frames_mask_size=15,
        max_frames_mask_fraction=0.08,
        p=0.6,
    )


@contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Global random state from ``numbers`` inside the block, as it was before after it.

    lhotse's SpecAugment draws from Python's, numpy's and torch's global generators.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
