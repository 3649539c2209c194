"""Lhotse cuts as calve's utterances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from lhotse.cut import Cut

from calve.data.audio import Audio, Float32Array
from calve.data.utterances import Utterance
from calve_lhotse.samples import check_rate

__all__ = ["utterance_of", "utterances_of"]


def utterances_of(cuts: Iterable[Cut]) -> Iterator[Utterance]:
    """The utterances of cuts with one channel, one by one."""
    return map(utterance_of, cuts)


def utterance_of(cut: Cut) -> Utterance:
    """The utterance of a cut with one channel; its audio and features are read on demand.

    Its text joins those of the cut's supervisions. It is None if there is no supervision, or one
    of them has no text.
    """
    texts = [supervision.text for supervision in cut.supervisions]
    text = " ".join(map(str, texts)) if texts and None not in texts else None

    def read_audio(sample_rate: int) -> Audio:
        check_rate(cut)
        resampled = cut if cut.sampling_rate == sample_rate else cut.resample(sample_rate)
        samples = np.ascontiguousarray(resampled.load_audio()[0], dtype=np.float32)
        return Audio(samples, sample_rate, cut.duration)

    def read_features(dimension: int) -> Float32Array | None:
        if not cut.has_features or cut.num_features != dimension:
            return None
        return np.ascontiguousarray(cut.load_features(), dtype=np.float32)

    return Utterance(cut.id, text, cut.duration, read_audio, read_features)
