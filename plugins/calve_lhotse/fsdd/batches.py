"""Batches of connected digits, for training and validation."""

from __future__ import annotations

from pathlib import Path

from lhotse.dataset import SpecAugment

from calve.protocols.loading import WHOLE, Shard
from calve_lhotse.batches import BatchMaker
from calve_lhotse.fsdd.cuts import load_cuts
from calve_lhotse.loader import CutBatches
from calve_lhotse.loader_options import FsddLoaderOptions
from calve_lhotse.sections import section_of
from calve_lhotse.subwords import MODEL_NAME, load_subwords

__all__ = ["load_batches"]


def load_batches(
    data_dir: Path,
    split: str,
    options: FsddLoaderOptions,
    *,
    training: bool,
    shard: Shard = WHOLE,
) -> CutBatches:
    """Batches of one prepared split; see `calve.protocols.OpenLoader`.

    Raises:
      DataError: if the split is unknown or not prepared.
    """
    cuts = load_cuts(data_dir, split)
    maker = BatchMaker(
        load_subwords(Path(data_dir) / (options.lang_dir or "lang") / MODEL_NAME),
        on_the_fly=options.on_the_fly_feats,
        masks=_masks(options) if training and options.enable_spec_aug else None,
    )
    return CutBatches(
        lambda epoch, first, count: section_of(cuts, first, count),
        maker,
        options,
        shuffle=training,
        shard=shard,
    )


def _masks(options: FsddLoaderOptions) -> SpecAugment:
    # Milder than for sentences: a digit lasts 40 frames, and most of the data end at 4 kHz.
    return SpecAugment(
        time_warp_factor=options.spec_aug_time_warp_factor,
        num_feature_masks=1,
        features_mask_size=12,
        num_frame_masks=2,
        frames_mask_size=15,
        max_frames_mask_fraction=0.08,
        p=0.6,
    )
