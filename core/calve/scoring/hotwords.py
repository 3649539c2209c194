"""Counts of hotwords: recognized, missed and false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calve.data.text import normalized
from calve.scoring.error_rates import DecodedUtterance, score

__all__ = ["HotwordCounts", "count_hotwords"]


@dataclass(frozen=True)
class HotwordCounts:
    """Counts of spoken and recognized hotwords.

    Attributes:
      said: Occurrences in the references.
      recognized: Occurrences whose words were all recognized, with none in between.
      false_alarms: Recognized occurrences that were not spoken.
    """

    said: int = 0
    recognized: int = 0
    false_alarms: int = 0

    @property
    def recall(self) -> float | None:
        """Recognized occurrences in percent of the spoken ones; None if there are none."""
        return 100 * self.recognized / self.said if self.said else None

    def __add__(self, other: HotwordCounts) -> HotwordCounts:
        return HotwordCounts(
            self.said + other.said,
            self.recognized + other.recognized,
            self.false_alarms + other.false_alarms,
        )


def count_hotwords(
    utterances: Iterable[DecodedUtterance], hotwords: Sequence[str]
) -> dict[str, HotwordCounts]:
    """Count each hotword in the references and in the hypotheses.

    Args:
      utterances: References and hypotheses; the words are aligned as for the error rate.
      hotwords: Texts of one or several words.
    """
    counts = {hotword: HotwordCounts() for hotword in hotwords}
    for alignment in score(utterances).alignments:
        said = [reference for reference, _ in alignment.pairs if reference is not None]
        found = [hypothesis for _, hypothesis in alignment.pairs if hypothesis is not None]
        correct = [word if word == other else None for word, other in alignment.pairs]
        for hotword in hotwords:
            words = normalized(hotword).split()
            recognized = _occurrences(words, correct)
            counts[hotword] += HotwordCounts(
                said=_occurrences(words, said),
                recognized=recognized,
                false_alarms=_occurrences(words, found) - recognized,
            )
    return counts


def _occurrences(words: Sequence[str], text: Sequence[str | None]) -> int:
    length = len(words)
    return sum(text[start : start + length] == words for start in range(len(text) - length + 1))
