"""Symbols that stand for bytes, and the text that a sequence of symbols spells.

Two kinds of vocabularies have them. sentencepiece's byte fallback has symbols such as ``<0xE7>``
for characters outside the vocabulary. icefall's byte-level BPE writes all text as bytes, and each
byte as one letter: a printable ASCII byte is its own letter, any other is a letter after U+00FF
(icefall's ``byte_utils``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["BYTE_LETTERS", "WORD_BOUNDARY", "is_byte_bpe", "symbol_bytes"]

WORD_BOUNDARY = "▁"
"""Starts a word in sentencepiece's vocabularies."""

_BYTE_SYMBOL = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_letters() -> dict[str, int]:
    printable = range(0x20, 0x7F)
    # Letters that Unicode's compatibility normalization would replace are skipped.
    later = (
        chr(code)
        for code in range(0x100, 0x200)
        if unicodedata.normalize("NFKC", chr(code)) == chr(code)
    )
    return {chr(byte) if byte in printable else next(later): byte for byte in range(256)}


BYTE_LETTERS = _byte_letters()
"""The byte of each letter of byte-level BPE."""

_HIGHEST = "\u0180"
"""From this letter on, no alphabet consists of such letters only."""


def is_byte_bpe(symbols: Iterable[str]) -> bool:
    """Whether a vocabulary is of byte-level BPE, by the rule of sherpa-onnx.

    All its symbols consist of letters that stand for bytes, and one at least has a letter for a
    high byte (U+0180 or later), which ordinary text in these letters does not have.
    """
    letters = set().union(*map(set, symbols)) - {WORD_BOUNDARY}
    return letters <= BYTE_LETTERS.keys() and any(letter >= _HIGHEST for letter in letters)


def symbol_bytes(symbol: str, *, byte_bpe: bool) -> bytes:
    """Return the bytes of a symbol in the UTF-8 text; ``▁`` is a space.

    Args:
      symbol: The symbol.
      byte_bpe: Whether its vocabulary is of byte-level BPE.
    """
    text = symbol.replace(WORD_BOUNDARY, " ")
    if byte_bpe:
        return bytes(BYTE_LETTERS[letter] for letter in text)
    byte = _BYTE_SYMBOL.fullmatch(symbol)
    if byte is not None:
        return bytes([int(byte.group(1), 16)])
    return text.encode("utf-8", "surrogatepass")
