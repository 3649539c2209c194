"""Alignment of a reference and a hypothesis with the fewest errors, in bounded memory.

kaldialign uses a matrix with one cell for each pair of symbols, which takes a gigabyte for two
hours of speech. Longer texts are first split at a point of an alignment with the fewest errors
(Hirschberg, "A linear space algorithm for computing maximal common subsequences", 1975).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from kaldialign import align as kaldi_align
from numpy.typing import NDArray

__all__ = ["Pair", "align"]

Pair = tuple[str | None, str | None]

Int32Array = NDArray[np.int32]

_NOTHING = " "
"""Stands for no symbol in kaldialign's pairs; neither a word nor a character."""

_MAX_CELLS = 1 << 22
"""Largest matrix, 16 MiB: two texts of 2,048 symbols."""


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Pair]:
    """Align two texts with the fewest substitutions, insertions and deletions.

    The time is proportional to the product of their lengths, the memory to their sum.

    Args:
      reference: Symbols without whitespace.
      hypothesis: The same.

    Returns:
      (reference, hypothesis) symbols in order; None on the left is an insertion, on the right a
      deletion.
    """
    pairs: list[Pair] = []
    for one, other in _pieces(reference, hypothesis):
        aligned = kaldi_align(list(one), list(other), _NOTHING)
        pairs.extend((_known(left), _known(right)) for left, right in aligned)
    return pairs


def _pieces(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Yield corresponding pieces of both texts that are small enough for a matrix."""
    if len(reference) * len(hypothesis) <= _MAX_CELLS:
        return [(reference, hypothesis)]
    row, column = _crossing(reference, hypothesis)
    return [
        *_pieces(reference[:row], hypothesis[:column]),
        *_pieces(reference[row:], hypothesis[column:]),
    ]


def _crossing(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """Return where an alignment with the fewest errors crosses the middle of the longer text."""
    if len(reference) < len(hypothesis):
        column, row = _crossing(hypothesis, reference)
        return row, column
    numbers = {symbol: number for number, symbol in enumerate({*reference, *hypothesis})}
    rows = np.array([numbers[symbol] for symbol in reference], dtype=np.int32)
    columns = np.array([numbers[symbol] for symbol in hypothesis], dtype=np.int32)
    middle = len(rows) // 2
    before = _errors_by_prefix(rows[:middle], columns)
    after = _errors_by_prefix(rows[middle:][::-1], columns[::-1])[::-1]
    return middle, int((before + after).argmin())


def _errors_by_prefix(rows: Int32Array, columns: Int32Array) -> Int32Array:
    """Count errors of ``rows`` against each prefix of ``columns``, (len(columns) + 1,) int32."""
    inserted = np.arange(len(columns) + 1, dtype=np.int32)
    errors: Int32Array = inserted.copy()
    for row in rows:
        substituted = errors[:-1] + (columns != row)
        errors = errors + 1
        np.minimum(errors[1:], substituted, out=errors[1:])
        # An insertion costs 1 for each column to the right of its start.
        errors = np.minimum.accumulate(errors - inserted) + inserted
    return errors


def _known(symbol: str) -> str | None:
    return None if symbol == _NOTHING else symbol
