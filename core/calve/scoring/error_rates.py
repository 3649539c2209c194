"""Word and character error rates: counts, alignments, confidence intervals, confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kaldialign import bootstrap_wer_ci

from calve.data.text import normalized
from calve.errors import DataError
from calve.scoring.alignment import Pair, align

__all__ = [
    "UNITS",
    "Alignment",
    "DecodedUtterance",
    "ErrorClasses",
    "ErrorCounts",
    "Score",
    "count_errors",
    "probability_of_improvement",
    "score",
    "total_errors",
]

UNITS = {"word": "WER", "character": "CER"}
"""Units of errors, and the name of the error rate of each."""

_REPLICATIONS = 10_000


@dataclass(frozen=True)
class DecodedUtterance:
    """Reference and hypothesis of one utterance.

    Attributes:
      name: Name of the utterance.
      reference: The spoken words.
      hypothesis: The recognized words.
      timestamps: Start of each word of the hypothesis in seconds from the start of the utterance;
        empty if unknown.
    """

    name: str
    reference: str
    hypothesis: str
    timestamps: tuple[float, ...] = ()


@dataclass(frozen=True)
class ErrorCounts:
    """Error counts of one or several utterances, in words or characters.

    Attributes:
      substitutions: Reference words recognized as another word.
      insertions: Words that are not in the reference.
      deletions: Reference words that are missing.
      reference_words: Words in the reference.
      utterances: Number of utterances.
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
        """Errors per hundred reference words; None if the references have no words."""
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


@dataclass(frozen=True)
class Alignment:
    """Aligned reference and hypothesis of one utterance.

    Attributes:
      name: Name of the utterance.
      pairs: (reference, hypothesis) symbols in order; None on the left is an insertion, on the
        right a deletion.
    """

    name: str
    pairs: tuple[Pair, ...]

    @property
    def counts(self) -> ErrorCounts:
        """The error counts of the alignment."""
        insertions = sum(reference is None for reference, _ in self.pairs)
        deletions = sum(hypothesis is None for _, hypothesis in self.pairs)
        wrong = sum(reference != hypothesis for reference, hypothesis in self.pairs)
        return ErrorCounts(
            substitutions=wrong - insertions - deletions,
            insertions=insertions,
            deletions=deletions,
            reference_words=len(self.pairs) - insertions,
            utterances=1,
            wrong_utterances=int(wrong > 0),
        )


@dataclass(frozen=True)
class ErrorClasses:
    """Frequency of each error.

    Attributes:
      correct: Number of correct recognitions, by symbol.
      substitutions: Number of substitutions, by (reference, hypothesis) symbols.
      deletions: Number of deletions, by reference symbol.
      insertions: Number of insertions, by symbol.
    """

    correct: Counter[str] = field(default_factory=Counter)
    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Score:
    """Score of a set of utterances.

    Attributes:
      unit: "word" or "character".
      alignments: One for each utterance.
    """

    unit: str
    alignments: tuple[Alignment, ...]

    @property
    def rate_name(self) -> str:
        """Name of the error rate, "WER" or "CER"."""
        return UNITS[self.unit]

    @cached_property
    def counts(self) -> ErrorCounts:
        """The errors of all utterances."""
        return sum((alignment.counts for alignment in self.alignments), ErrorCounts())

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % confidence interval of the error rate in percent.

        kaldialign resamples the utterances 10,000 times (Bisani and Ney, "Bootstrap estimates for
        confidence intervals in ASR performance evaluation", 2004). None if there is no error rate.
        """
        if not self.counts.reference_words:
            return None
        found = bootstrap_wer_ci(*self._sides(), replications=_REPLICATIONS)
        return max(0.0, 100 * found["ci95min"]), 100 * found["ci95max"]

    @cached_property
    def classes(self) -> ErrorClasses:
        """The errors by kind and symbol."""
        classes = ErrorClasses()
        for reference, hypothesis in (pair for one in self.alignments for pair in one.pairs):
            if reference is None:
                classes.insertions[hypothesis or ""] += 1
            elif hypothesis is None:
                classes.deletions[reference] += 1
            elif reference != hypothesis:
                classes.substitutions[reference, hypothesis] += 1
            else:
                classes.correct[reference] += 1
        return classes

    def _sides(self) -> tuple[list[list[str]], list[list[str]]]:
        references = [[r for r, _ in one.pairs if r is not None] for one in self.alignments]
        hypotheses = [[h for _, h in one.pairs if h is not None] for one in self.alignments]
        return references, hypotheses


def score(utterances: Iterable[DecodedUtterance], unit: str = "word") -> Score:
    """Align every utterance; case and punctuation are significant.

    Args:
      utterances: References and hypotheses.
      unit: "word", or "character", which ignores spaces.
    """
    return Score(unit, tuple(_align(one, unit) for one in utterances))


def probability_of_improvement(before: Score, after: Score) -> float | None:
    """Probability that ``after`` really has fewer errors than ``before``.

    It is the share of 10,000 bootstrap samples of the utterances in which this is true. None if
    there is no error rate.

    Raises:
      DataError: if the two have different utterances.
    """
    references, hypotheses = before._sides()
    other_references, other_hypotheses = after._sides()
    if references != other_references:
        raise DataError("two results can only be compared on the same utterances")
    if not before.counts.reference_words:
        return None
    found = bootstrap_wer_ci(references, hypotheses, other_hypotheses, replications=_REPLICATIONS)
    return float(found["p_s2_improv_over_s1"])


def count_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Align two texts word by word; case and punctuation count, the Unicode form does not."""
    return _align(DecodedUtterance("", reference, hypothesis), "word").counts


def total_errors(pairs: Iterable[tuple[str, str]]) -> ErrorCounts:
    """The sum over (reference, hypothesis) pairs."""
    return sum((count_errors(*pair) for pair in pairs), ErrorCounts())


def _align(utterance: DecodedUtterance, unit: str) -> Alignment:
    reference = _symbols(utterance.reference, unit)
    hypothesis = _symbols(utterance.hypothesis, unit)
    return Alignment(utterance.name, tuple(align(reference, hypothesis)))


def _symbols(text: str, unit: str) -> Sequence[str]:
    words = normalized(text).split()
    return words if unit == "word" else list("".join(words))
