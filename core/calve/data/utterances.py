"""Utterances of a prepared corpus, one by one and in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from calve.data.audio import Audio
from calve.data.audio_survey import check_samples
from calve.data.features import FeatureConfig, compute_fbank
from calve.errors import AudioError, CalveError, DataError

__all__ = ["Failure", "Utterance", "batches_by_duration", "load_each", "reading"]

Float32Array = NDArray[np.float32]
Loaded = TypeVar("Loaded")

_REASON = 160
"""Largest number of shown characters of a library's message."""


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be decoded.

    Attributes:
      name: Name of the utterance.
      reason: The reason, as the user reads it.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Utterance:
    """One utterance of a corpus; audio and features are read on demand.

    Attributes:
      name: Unique in its split.
      text: The words; None if they are unknown.
      duration: Seconds.
      read_audio: ``(sample_rate) -> Audio`` with samples at that rate.
      read_features: ``(dimension) -> features``: stored features (T, dimension) float32; None if
        none of this dimension are stored.
    """

    name: str
    text: str | None
    duration: float
    read_audio: Callable[[int], Audio]
    read_features: Callable[[int], Float32Array | None] = lambda dimension: None

    @classmethod
    def of_audio(cls, name: str, audio: Audio, text: str | None = None) -> Utterance:
        """An utterance in memory; ``audio`` must have the sampling rate that is requested later."""
        return cls(name, text, audio.duration, lambda sample_rate: audio)

    def audio(self, sample_rate: int) -> Audio:
        """The samples.

        Raises:
          AudioError: if they cannot be read, there are none, or some are NaN or far beyond full
            scale.
        """
        with reading("audio"):
            audio = self.read_audio(sample_rate)
        if not len(audio.samples):
            raise AudioError("the recording holds no samples")
        check_samples(audio.samples)
        return audio

    def features(self, config: FeatureConfig) -> Float32Array:
        """Return stored features, otherwise those of the audio; (T, C) float32.

        Corpora store icefall's features, so another configuration is computed from the audio.

        Raises:
          AudioError: if neither can be read, or there are none.
          DataError: if they hold NaN or infinity.
        """
        with reading("features"):
            stored = FeatureConfig(num_mel_bins=config.num_mel_bins)
            features = self.read_features(config.num_mel_bins) if config == stored else None
        if features is None:
            features = compute_fbank(self.audio(config.sample_rate).samples, config)
        if not len(features):
            raise AudioError("there are no feature frames")
        if not np.isfinite(features).all():
            raise DataError("the features hold NaN or infinity")
        return features


@contextmanager
def reading(
    what: str, raised: type[CalveError] = AudioError, where: Path | None = None
) -> Iterator[None]:
    """Convert exceptions of libraries inside the block to a ``raised`` that names ``what``."""
    try:
        yield
    except CalveError:
        raise
    except Exception as error:
        reason = shorten(f"{type(error).__name__} {error}", _REASON, placeholder=" ...")
        raise raised(f"cannot read the {what}: {reason}", where=where) from error


def load_each(
    utterances: Iterable[Utterance], load: Callable[[Utterance], Loaded]
) -> tuple[list[tuple[Utterance, Loaded]], list[Failure]]:
    """Yield ``load`` of each utterance, or a failure without reference or readable data."""
    loaded, failures = [], []
    for utterance in utterances:
        try:
            if utterance.text is None:
                raise DataError("there is no reference transcript")
            loaded.append((utterance, load(utterance)))
        except CalveError as error:
            failures.append(Failure(utterance.name, error.what))
    return loaded, failures


def batches_by_duration(
    utterances: Iterable[Utterance], max_duration: float
) -> Iterator[Sequence[Utterance]]:
    """Batches of similar length, the longest first.

    Args:
      utterances: In any order.
      max_duration: Seconds in a batch, padding included; a longer utterance comes alone.
    """
    batch: list[Utterance] = []
    for utterance in sorted(utterances, key=lambda one: one.duration, reverse=True):
        if batch and (len(batch) + 1) * batch[0].duration > max_duration:
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch
