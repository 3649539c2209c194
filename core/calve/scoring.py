"""Word error rates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kaldialign import edit_distance

__all__ = ["ErrorCounts", "count_errors", "total_errors"]


@dataclass(frozen=True)
class ErrorCounts:
    """Word errors of one utterance, or of many added up.

    Attributes:
      substitutions: Reference words that came out as another word.
      insertions: Words that are not in the reference.
      deletions: Reference words that are missing.
      reference_words: Words in the reference.
      utterances: Utterances counted.
      wrong_utterances: Utterances with at least one error.
    """

    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0
    reference_words: int = 0
    utterances: int = 0
    wrong_utterances: int = 0

    @property
    def errors(self) -> int:
        """Errors of all three kinds."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def wer(self) -> float | None:
        """Errors per hundred reference words; None if the references hold no word."""
        return 100 * self.errors / self.reference_words if self.reference_words else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.reference_words + other.reference_words,
            self.utterances + other.utterances,
            self.wrong_utterances + other.wrong_utterances,
        )


def count_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Align two texts word by word; case and punctuation count as they are."""
    words = reference.split()
    distance = edit_distance(words, hypothesis.split())
    return ErrorCounts(
        substitutions=distance["sub"],
        insertions=distance["ins"],
        deletions=distance["del"],
        reference_words=len(words),
        utterances=1,
        wrong_utterances=int(distance["total"] > 0),
    )


def total_errors(pairs: Iterable[tuple[str, str]]) -> ErrorCounts:
    """The sum over (reference, hypothesis) pairs."""
    return sum((count_errors(*pair) for pair in pairs), ErrorCounts())
