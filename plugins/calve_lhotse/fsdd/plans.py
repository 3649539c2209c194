"""Plans of utterances: the recordings that are joined, selected before anything is rendered.

A plan depends on the seed and the list of recordings alone, so the corpus is the same whatever
the number of processes, and a stage can be repeated for a single utterance.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calve_lhotse.fsdd.recordings import WORDS, DigitRecording

__all__ = ["UtterancePlan", "deal", "generator_for", "random_digits"]

MAX_DIGITS = 7


@dataclass(frozen=True)
class UtterancePlan:
    """One utterance to render.

    Attributes:
      id: Unique in the corpus; also seeds everything random in the rendering.
      speaker: Who speaks.
      text: The words.
      pieces: Recordings to join, in order; a synthesized utterance is a single piece.
      babble: Recordings of other speakers to mix in as noise; may be empty.
      perturbed: Whether voice, room and level are varied (training only).
      synthetic: Whether a synthesizer speaks.
      target: The file to write.
    """

    id: str
    speaker: str
    text: str
    pieces: tuple[Path, ...]
    babble: tuple[Path, ...]
    perturbed: bool
    synthetic: bool
    target: Path


def generator_for(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for everything that has a name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def random_digits(generator: np.random.Generator) -> str:
    """One to seven digit words."""
    count = generator.integers(1, MAX_DIGITS + 1)
    return " ".join(WORDS[digit] for digit in generator.integers(0, len(WORDS), count))


def deal(
    split: str, recordings: Iterable[DigitRecording], rounds: int, seed: int
) -> Iterator[list[DigitRecording]]:
    """Hands of one to seven recordings of one speaker each.

    Like cards: in every round each speaker's recordings are shuffled and dealt to the last, so
    all of them occur equally often.
    """
    generator = generator_for(seed, f"hands of {split}")
    by_speaker: dict[str, list[DigitRecording]] = defaultdict(list)
    for recording in recordings:
        by_speaker[recording.speaker].append(recording)
    for speaker in sorted(by_speaker):
        for _ in range(rounds):
            yield from _hands(by_speaker[speaker], generator)


def _hands(
    recordings: Sequence[DigitRecording], generator: np.random.Generator
) -> Iterator[list[DigitRecording]]:
    shuffled = [recordings[index] for index in generator.permutation(len(recordings))]
    while shuffled:
        count = int(generator.integers(1, MAX_DIGITS + 1))
        yield shuffled[:count]
        shuffled = shuffled[count:]
