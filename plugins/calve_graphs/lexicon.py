"""Lexicons from a BPE model, with disambiguation symbols as in icefall's ``prepare_lang``.

Each line of a file is ``WORD piece piece ...``. A word whose pieces equal those of another word, or
are a prefix of them, gets ``#1``, ``#2``, ... at its end. Without these symbols LG could not be
determinized. ``#0`` is the label of G's backoff arcs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import kaldifst

from calve.api import DataError
from calve.common.files import atomic_file
from calve.common.inputs import read_text
from calve.data.text import normalized
from calve.data.tokens import SymbolTable

__all__ = [
    "BACKOFF_SYMBOL",
    "UNKNOWN_WORD",
    "WORDS_NOT_SPOKEN",
    "Lexicon",
    "lexicon_fst",
    "spell_words",
    "word_table",
]

UNKNOWN_WORD = "<UNK>"
BACKOFF_SYMBOL = "#0"

_FIRST_WORDS = ("<eps>", "!SIL", "<SPOKEN_NOISE>", UNKNOWN_WORD)
_LAST_WORDS = (BACKOFF_SYMBOL, "<s>", "</s>")
WORDS_NOT_SPOKEN = frozenset({*_FIRST_WORDS, *_LAST_WORDS})
"""Entries of a word table that are not spoken."""
_WORD_BOUNDARY = "▁"
_UNKNOWN_PIECE = "<unk>"

_SEPARATOR = re.compile(r"[ \t]+")
_DISAMBIGUATION = re.compile(r"#\d+")


@dataclass(frozen=True)
class Lexicon:
    """Words and their pieces.

    Attributes:
      entries: Pairs of a word and its pieces; a word may have several entries.
    """

    entries: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Lexicon:
        """Read lines ``WORD piece piece ...``.

        Raises:
          DataError: if the file cannot be read, a word has no pieces or there is none; it names
            the line.
        """
        lines = normalized(read_text(Path(path), "lexicon", DataError)).split("\n")
        entries = []
        for number, line in enumerate(lines, start=1):
            word, *pieces = _SEPARATOR.split(line.strip(" \t\r"))
            if word and not pieces:
                raise DataError(
                    f"the word {word!r} has no pieces",
                    where=f"{path}, line {number}",
                    fix="write 'WORD piece piece ...' on each line",
                )
            if word:
                entries.append((word, tuple(pieces)))
        if not entries:
            raise DataError("the lexicon is empty", where=path)
        return cls(tuple(entries))

    def write(self, path: str | PathLike[str]) -> None:
        """Write lines ``WORD piece piece ...``."""
        lines = [" ".join((word, *pieces)) + "\n" for word, pieces in self.entries]
        with atomic_file(Path(path)) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")

    def disambiguated(self) -> Lexicon:
        """Return the same words with ``#1``, ``#2``, ... where their pieces are ambiguous."""
        count = Counter(pieces for _, pieces in self.entries)
        prefixes = {pieces[:end] for pieces in count for end in range(1, len(pieces))}
        used: Counter[tuple[str, ...]] = Counter()
        entries = []
        for word, pieces in self.entries:
            if count[pieces] == 1 and pieces not in prefixes:
                entries.append((word, pieces))
            else:
                used[pieces] += 1
                entries.append((word, (*pieces, f"#{used[pieces]}")))
        return Lexicon(tuple(entries))

    def with_disambiguation(self, tokens: SymbolTable) -> SymbolTable:
        """Return ``tokens`` with as many of ``#0``, ``#1``, ... as `disambiguated` needs."""
        symbols = [token for token in tokens if not _DISAMBIGUATION.fullmatch(token)]
        last = [pieces[-1] for _, pieces in self.disambiguated().entries]
        numbers = [int(piece[1:]) for piece in last if _DISAMBIGUATION.fullmatch(piece)]
        symbols += [f"#{number}" for number in range(max(numbers, default=0) + 1)]
        return SymbolTable(tuple(symbols))


def word_table(words: Iterable[str]) -> SymbolTable:
    """Make the table of icefall's ``words.txt``: special words around the sorted others."""
    special = {*_FIRST_WORDS, *_LAST_WORDS}
    ordinary = sorted({normalized(word) for word in words} - special)
    return SymbolTable((*_FIRST_WORDS, *ordinary, *_LAST_WORDS))


def spell_words(model: Any, words: SymbolTable) -> tuple[Lexicon, list[str]]:
    """Make the lexicon of a word table's ordinary words and ``<UNK>``.

    Args:
      model: A ``sentencepiece.SentencePieceProcessor``.
      words: See `word_table`.

    Returns:
      The lexicon, and the words that were omitted because the model lacks one of their letters.

    Raises:
      DataError: if the model can spell no word.
    """
    special = {*_FIRST_WORDS, *_LAST_WORDS}
    ordinary = [word for word in words if word not in special]
    entries: list[tuple[str, tuple[str, ...]]] = []
    unspellable = []
    for word, ids in zip(ordinary, model.encode(ordinary, out_type=int), strict=True):
        if model.unk_id() in ids:
            unspellable.append(word)
        else:
            entries.append((word, tuple(map(model.id_to_piece, ids))))
    if not entries:
        raise DataError(
            f"the BPE model can spell none of the {len(ordinary)} words",
            fix="give the words of the text that the model was trained on, in the same case",
        )
    entries.append((UNKNOWN_WORD, (_WORD_BOUNDARY, _UNKNOWN_PIECE)))
    return Lexicon(tuple(entries)), unspellable


def lexicon_fst(lexicon: Lexicon, tokens: SymbolTable, words: SymbolTable) -> Any:
    """Make L, or L_disambig from a disambiguated lexicon, as a ``kaldifst.StdVectorFst``.

    Every word starts and ends in the start state. The first arc of a word carries the word. No
    silence is added. If ``tokens`` contains ``#0``, the start state has a loop with it for the
    backoff arcs of G.

    Raises:
      DataError: if a piece or a word is not in its table.
    """
    fst = kaldifst.StdVectorFst()
    loop = fst.start = fst.add_state()
    fst.set_final(loop, 0.0)
    for word, pieces in lexicon.entries:
        labels = [_id(tokens, piece, f"a piece of {word!r}") for piece in pieces]
        outputs = [_id(words, word, "the lexicon")] + [0] * (len(pieces) - 1)
        states = [loop, *(fst.add_state() for _ in pieces[1:]), loop]
        _add_path(fst, states, labels, outputs)
    if BACKOFF_SYMBOL in tokens:
        backoff = _id(words, BACKOFF_SYMBOL, "the backoff")
        _add_path(fst, [loop, loop], [tokens.id(BACKOFF_SYMBOL)], [backoff])
    return fst


def _add_path(
    fst: Any, states: Sequence[int], labels: Sequence[int], outputs: Sequence[int]
) -> None:
    for source, target, label, output in zip(states[:-1], states[1:], labels, outputs, strict=True):
        fst.add_arc(source, kaldifst.StdArc(label, output, 0.0, target))


def _id(table: SymbolTable, symbol: str, user: str) -> int:
    if symbol not in table:
        raise DataError(
            f"{symbol!r} ({user}) is not in the symbol table",
            fix="make the lexicon and the tables with the same BPE model and word list",
        )
    return table.id(symbol)
