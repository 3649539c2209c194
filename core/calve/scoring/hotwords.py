"""How many hotwords were recognized, missed, and heard where nobody said them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calve.scoring.error_rates import DecodedUtterance, score

__all__ = ["HotwordCounts", "count_hotwords"]


@dataclass(frozen=True)
class HotwordCounts:
    """How often hotwords were said and recognized.

    Attributes:
      said: Times that they are in the references.
      recognized: Times of these that all their words were recognized, with none in between.
      false_alarms: Times that they were found where they were not said.
    """

    said: int = 0
    recognized: int = 0
    false_alarms: int = 0

    @property
    def recall(self) -> float | None:
        """Recognized times per hundred said; None if they were not said at all."""
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
    """Count each hotword in the references and in what was recognized.

    Args:
      utterances: What was said and recognized; the words are aligned as for the error rate.
      hotwords: Texts of one or several words.
    """
    counts = {hotword: HotwordCounts() for hotword in hotwords}
    for alignment in score(utterances).alignments:
        said = [reference for reference, _ in alignment.pairs if reference is not None]
        found = [hypothesis for _, hypothesis in alignment.pairs if hypothesis is not None]
        correct = [word if word == other else None for word, other in alignment.pairs]
        for hotword in hotwords:
            words = hotword.split()
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
