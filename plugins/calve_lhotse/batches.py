"""From a handful of cuts to a batch of tensors: audio or stored features, noise, masks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import CutMix, SpecAugment
from sentencepiece import SentencePieceProcessor

from calve.api import DataError
from calve.common.torch_threads import torch_threads
from calve.data.audio import Float32Array
from calve.data.features import PADDING
from calve.protocols import Batch
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.fitness import text_of
from calve_lhotse.reasons import reason
from calve_lhotse.samples import load_samples

__all__ = ["BatchMaker", "spec_augment"]

_NOISE_SHARE = 0.5
_NOISE_SNR_DB = (10, 20)


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches, each from its cuts and a seed alone, in whatever process.

    Attributes:
      subwords: Turns transcripts into symbol ids.
      on_the_fly: Whether features are computed from audio rather than read.
      masks: SpecAugment, or None.
      noise: Cuts to mix into half of the utterances, 10 to 20 dB below them, or None.
    """

    subwords: SentencePieceProcessor
    on_the_fly: bool = False
    masks: SpecAugment | None = None
    noise: CutSet | None = None

    def make(self, cuts: CutSet, seed: tuple[int, ...]) -> Batch:
        """The batch of ``cuts``, with everything random drawn from ``seed``.

        Raises:
          DataError: if the audio or the features of a cut cannot be read; names the cut.
        """
        with _seeded(seed), torch_threads(1):  # time warping rounds otherwise with more
            noisy = cuts if self.noise is None else _mix(cuts, self.noise)
            features, feature_lens = self._collate(noisy)
            if self.masks is not None:
                for row, length in enumerate(feature_lens.tolist()):
                    features[row, :length] = self.masks(features[row : row + 1, :length])[0]
        texts = [text_of(cut) for cut in cuts]
        return Batch(
            features=features,
            feature_lens=feature_lens,
            tokens=self.subwords.encode(texts),
            cut_ids=[cut.id for cut in cuts],
        )

    def _collate(self, cuts: CutSet) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, T, C) float32, padded at the end, and their lengths (N,) int64."""
        matrices = [torch.from_numpy(self._features(cut)) for cut in cuts]
        features = torch.nn.utils.rnn.pad_sequence(
            matrices, batch_first=True, padding_value=PADDING
        )
        return features, torch.tensor([len(matrix) for matrix in matrices])

    def _features(self, cut: Cut) -> Float32Array:
        if self.on_the_fly and not cut.has_recording:
            raise DataError(
                "an utterance has no audio, only features",
                where=cut.id,
                fix="train without --on-the-fly-feats 1, or prepare with --store-features 0",
            )
        try:
            if self.on_the_fly:
                return CalveFbank().extract(load_samples(cut), cut.sampling_rate)
            features = cut.load_features()
        except DataError as error:
            raise DataError(error.what, where=cut.id, fix=error.fix) from error
        except Exception as error:
            # lhotse tries several audio back ends and storages; each fails with a type of its own.
            what = "audio" if self.on_the_fly else "features"
            raise DataError(
                f"cannot read the {what} of an utterance: {reason(error)}",
                where=cut.id,
                fix="run stage `validate` of `calve prepare`: it says what to make again",
            ) from error
        if features is None:
            raise DataError(
                "an utterance has no stored features",
                where=cut.id,
                fix="prepare the corpus with features, or give --on-the-fly-feats 1",
            )
        return np.asarray(features, dtype=np.float32)


def spec_augment(time_warp_factor: int) -> SpecAugment:
    """icefall's masks for sentences."""
    return SpecAugment(
        time_warp_factor=time_warp_factor,
        num_frame_masks=10,
        features_mask_size=27,
        num_feature_masks=2,
        frames_mask_size=100,
        p=0.9,
    )


def _mix(cuts: CutSet, noise: CutSet) -> CutSet:
    return CutMix(
        noise,
        snr=_NOISE_SNR_DB,
        p=_NOISE_SHARE,
        pad_to_longest=False,
        preserve_id=True,
        # The global generator, which is seeded for this batch.
        seed=random.Random(random.getrandbits(64)),
        random_mix_offset=True,
    )(cuts)


@contextmanager
def _seeded(numbers: tuple[int, ...]) -> Iterator[None]:
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
