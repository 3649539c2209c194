"""Hotword files with scores."""

from __future__ import annotations

import math
from pathlib import Path

from calve.common.inputs import read_text
from calve.data.text import normalized
from calve.data.tokens import SymbolTable
from calve.errors import DataError

__all__ = ["hotwords_in_words", "read_hotwords"]


def read_hotwords(path: Path) -> list[tuple[str, float | None]]:
    """Read hotwords in sherpa's format: one phrase per line, optionally followed by ``:SCORE``.

    Raises:
      DataError: if the file cannot be read or is empty, or a score is no number; it names the line.
    """
    phrases = []
    text = normalized(read_text(path, "file of hotwords", DataError))
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        boost = _number(words.pop()) if words and words[-1].startswith(":") else None
        if boost is not None and not math.isfinite(boost):
            raise DataError(
                f"{line!r} does not end in a score",
                where=f"{path}, line {number}",
                fix="write a phrase, optionally followed by :SCORE",
            )
        if words:
            phrases.append((" ".join(words), boost))
    if not phrases:
        raise DataError("the file holds no hotword", where=path, fix="write one phrase a line")
    return phrases


def hotwords_in_words(path: Path, symbols: SymbolTable) -> tuple[str, ...]:
    """Return the hotwords of a file as texts, whether written in words or in symbols.

    Raises:
      DataError: as `read_hotwords`.
    """
    phrases = (phrase for phrase, _ in read_hotwords(path))
    return tuple(dict.fromkeys(_in_words(phrase, symbols) for phrase in phrases))


def _in_words(phrase: str, symbols: SymbolTable) -> str:
    pieces = phrase.split()
    if all(piece in symbols for piece in pieces):
        return symbols.text(map(symbols.id, pieces))
    return phrase


def _number(text: str) -> float:
    """Return the number after the colon; NaN if there is none."""
    try:
        return float(text[1:])
    except ValueError:
        return math.nan
