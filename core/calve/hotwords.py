"""Hotwords: the file that names them, and how many of them were recognised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calve.errors import DataError
from calve.scoring import DecodedUtterance, score
from calve.tokens import SymbolTable

__all__ = ["HotwordCounts", "count_hotwords", "hotwords_in_words", "read_hotwords"]


@dataclass(frozen=True)
class HotwordCounts:
    """How often hotwords were said and recognised.

    Attributes:
      said: Times that they are in the references.
      recognised: Times of these that all their words were recognised, with none in between.
      false_alarms: Times that they were found where they were not said.
    """

    said: int = 0
    recognised: int = 0
    false_alarms: int = 0

    @property
    def recall(self) -> float | None:
        """Recognised times per hundred said; None if they were not said at all."""
        return 100 * self.recognised / self.said if self.said else None

    def __add__(self, other: HotwordCounts) -> HotwordCounts:
        return HotwordCounts(
            self.said + other.said,
            self.recognised + other.recognised,
            self.false_alarms + other.false_alarms,
        )


def read_hotwords(path: Path) -> list[tuple[str, float | None]]:
    """Read hotwords as sherpa's files hold them: a phrase a line, and ``:SCORE`` after it, if any.

    Raises:
      DataError: if the file cannot be read or is empty, or a score is no number; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"cannot read the hotwords: {reason}", where=path) from error
    phrases = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        boost = _number(words.pop()) if words and words[-1].startswith(":") else None
        if boost is not None and not math.isfinite(boost):
            raise DataError(
                f"{line!r} does not end in a score",
                where=f"{path}, line {number}",
                fix="write a phrase, and behind it :SCORE if it has one of its own",
            )
        if words:
            phrases.append((" ".join(words), boost))
    if not phrases:
        raise DataError("the file holds no hotword", where=path, fix="write one phrase a line")
    return phrases


def hotwords_in_words(path: Path, symbols: SymbolTable) -> tuple[str, ...]:
    """The hotwords of a file as texts, whether they are written in words or in symbols.

    Raises:
      DataError: as `read_hotwords`.
    """
    phrases = (phrase for phrase, _ in read_hotwords(path))
    return tuple(dict.fromkeys(_in_words(phrase, symbols) for phrase in phrases))


def count_hotwords(
    utterances: Iterable[DecodedUtterance], hotwords: Sequence[str]
) -> dict[str, HotwordCounts]:
    """Count each hotword in the references and in what was recognised.

    Args:
      utterances: What was said and recognised; the words are aligned as for the error rate.
      hotwords: Texts of one or several words.
    """
    counts = {hotword: HotwordCounts() for hotword in hotwords}
    for alignment in score(utterances).alignments:
        said = [reference for reference, _ in alignment.pairs if reference is not None]
        found = [hypothesis for _, hypothesis in alignment.pairs if hypothesis is not None]
        correct = [word if word == other else None for word, other in alignment.pairs]
        for hotword in hotwords:
            words = hotword.split()
            recognised = _occurrences(words, correct)
            counts[hotword] += HotwordCounts(
                said=_occurrences(words, said),
                recognised=recognised,
                false_alarms=_occurrences(words, found) - recognised,
            )
    return counts


def _occurrences(words: Sequence[str], text: Sequence[str | None]) -> int:
    length = len(words)
    return sum(text[start : start + length] == words for start in range(len(text) - length + 1))


def _in_words(phrase: str, symbols: SymbolTable) -> str:
    pieces = phrase.split()
    if all(piece in symbols for piece in pieces):
        return symbols.text(map(symbols.id, pieces))
    return phrase


def _number(text: str) -> float:
    """The number after the colon; NaN if there is none."""
    try:
        return float(text[1:])
    except ValueError:
        return math.nan
