"""Symbol tables in icefall's ``tokens.txt`` format: one pair ``symbol id`` per line."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from calve.common.files import atomic_file
from calve.common.inputs import input_problem, read_bytes
from calve.common.printable import shortened
from calve.data.byte_symbols import is_byte_bpe, symbol_bytes
from calve.data.text import normalized
from calve.errors import TokensError

__all__ = ["BLANK_ID", "SymbolTable"]

BLANK_ID = 0
"""Every runtime that calve exports to takes symbol 0 as the blank."""

_BLANK_SYMBOLS = ("<blk>", "<blank>", "<eps>")
_UNKNOWN_SYMBOL = "<unk>"

# ASCII white space only: a symbol may hold U+00A0 or U+3000, and the C++ readers agree.
_FIELD_SEPARATOR = re.compile(r"[ \t\v\f\r]+")
_WHITE_SPACE = re.compile(r"[ \t\n\v\f\r]")
_DISAMBIGUATION = re.compile(r"#\d+")
_ID = re.compile(r"[0-9]{1,9}")

_QUOTED = 16
"""Characters of a malformed line in a message: the file may be another one, with a secret in it."""


@dataclass(frozen=True)
class SymbolTable:
    """The symbols of a model in the order of their ids; the first is the blank.

    Attributes:
      symbols: ``symbols[i]`` is the symbol whose id is i.

    Raises:
      TokensError: if a symbol is empty, contains white space or occurs twice, or symbol 0 is not a
        blank.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        for index, symbol in enumerate(self.symbols):
            if not symbol or _WHITE_SPACE.search(symbol):
                raise TokensError(
                    f"symbol {index} is {shortened(symbol)}: symbols are not empty and hold no "
                    "white space"
                )
        repeated = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
        if repeated:
            raise TokensError(f"symbol {shortened(repeated[0])} occurs more than once")
        if not self.symbols:
            raise TokensError("a symbol table needs at least the blank symbol")
        if self.symbols[BLANK_ID] not in _BLANK_SYMBOLS:
            raise TokensError(
                f"symbol 0 is {shortened(self.symbols[0])}, but id 0 is the blank",
                fix=f"give the tokens.txt that the model was trained with; "
                f"its first line is '{_BLANK_SYMBOLS[0]} 0'",
            )

    @classmethod
    def read(cls, path: str | PathLike[str]) -> SymbolTable:
        """Read a ``tokens.txt``; its lines may be in any order.

        Raises:
          TokensError: if the file cannot be read, is not UTF-8, or has an invalid line, id or
            symbol; the message names the line.
        """
        path = Path(path)
        entries = _parse(path, _read_utf8(path))
        try:
            return cls(_in_order(path, entries))
        except TokensError as error:
            raise TokensError(error.what, where=error.where or path, fix=error.fix) from None

    def write(self, path: str | PathLike[str]) -> None:
        """Write the table so that `read` and every k2-fsa runtime read it back."""
        lines = [f"{symbol} {index}\n" for index, symbol in enumerate(self.symbols)]
        with atomic_file(Path(path)) as temporary:
            temporary.write_bytes("".join(lines).encode())

    def for_vocabulary(self, vocab_size: int) -> SymbolTable:
        """Return the table of a model with ``vocab_size`` outputs.

        icefall appends disambiguation symbols (``#0``, ``#1``, ...) for its decoding graphs;
        no network scores them, so they are omitted.

        Raises:
          TokensError: if the table does not fit the model.
        """
        rest = self.symbols[vocab_size:]
        if len(self) < vocab_size or not all(map(_DISAMBIGUATION.fullmatch, rest)):
            raise TokensError(
                f"the symbol table has {len(self)} symbols, but the model scores {vocab_size}",
                fix="give the tokens.txt that the model was trained with",
            )
        return SymbolTable(self.symbols[:vocab_size])

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and self._find(symbol) is not None

    def __getitem__(self, index: int) -> str:
        """The symbol with this id; IndexError if there is none."""
        if index < 0:
            raise IndexError(index)
        return self.symbols[index]

    def id(self, symbol: str) -> int:
        """Return the id of a symbol, in whichever normal form of Unicode it is.

        Raises:
          TokensError: if the table does not contain it.
        """
        index = self._find(symbol)
        if index is None:
            raise TokensError(f"the symbol table does not hold {shortened(symbol)}")
        return index

    @property
    def blank_id(self) -> int:
        """The id of the blank."""
        return BLANK_ID

    @property
    def unk_id(self) -> int | None:
        """The id of ``<unk>``, if there is one."""
        return self._ids.get(_UNKNOWN_SYMBOL)

    @cached_property
    def is_byte_bpe(self) -> bool:
        """Whether the letters of the symbols stand for bytes, as in icefall's byte-level BPE."""
        return is_byte_bpe(self.symbols)

    def text(self, ids: Iterable[int]) -> str:
        """The text that a sequence of symbols spells; ``▁`` starts a word.

        Symbols that stand for bytes (``<0xE7>``, or all in byte-level BPE) are joined to UTF-8
        text. U+FFFD, the replacement character, stands for missing or wrong bytes.
        """
        self._check_ids(ids := list(ids))
        return b"".join(self._bytes[index] for index in ids).decode("utf-8", "replace").strip()

    def word_starts(self, ids: Iterable[int]) -> list[int]:
        """Positions in ``ids`` where the words of the text begin."""
        self._check_ids(ids := list(ids))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        starts = []
        between_words = True
        incomplete: int | None = None  # where the character began that has not all its bytes yet
        for position, index in enumerate(ids):
            characters = decoder.decode(self._bytes[index], final=position == len(ids) - 1)
            first = position if incomplete is None else incomplete
            for number, character in enumerate(characters):
                if character.isspace():
                    between_words = True
                elif between_words:
                    starts.append(position if number else first)
                    between_words = False
            if not decoder.getstate()[0]:
                incomplete = None
            elif incomplete is None or characters:
                incomplete = position
        return starts

    def _check_ids(self, ids: Sequence[int]) -> None:
        for index in ids:
            if not 0 <= index < len(self.symbols):
                raise IndexError(index)

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        return tuple(symbol_bytes(one, byte_bpe=self.is_byte_bpe) for one in self.symbols)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    @cached_property
    def _normalized_ids(self) -> dict[str, int]:
        return {normalized(symbol): index for symbol, index in self._ids.items()}

    def _find(self, symbol: str) -> int | None:
        index = self._ids.get(symbol)
        return self._normalized_ids.get(normalized(symbol)) if index is None else index


class _TokenLine(NamedTuple):
    line: int
    symbol: str
    id: int


def _read_utf8(path: Path) -> str:
    problem = input_problem(path, "symbol table")
    if problem is not None:
        raise TokensError(problem.what, where=path, fix=problem.fix)
    data = read_bytes(path, "symbol table", TokensError)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TokensError(
            "the symbol table is not UTF-8 text",
            where=f"{path}, line {line}",
            fix="a tokens.txt is plain text, unlike the bpe.model that lies beside it",
        ) from None
    if text.startswith("\ufeff"):
        raise TokensError(
            "the symbol table starts with a byte order mark",
            where=path,
            fix="save it as UTF-8 without a byte order mark",
        )
    if not text.strip():
        raise TokensError("the symbol table is empty", where=path)
    return text


def _parse(path: Path, text: str) -> list[_TokenLine]:
    entries = []
    for line, content in enumerate(text.split("\n"), start=1):
        fields = [field for field in _FIELD_SEPARATOR.split(content) if field]
        if not fields:
            continue
        if len(fields) != 2:
            raise _bad_line(path, line, f"{shortened(content, _QUOTED)} is not a pair 'symbol id'")
        symbol, index = fields
        if not _ID.fullmatch(index):
            raise _bad_line(
                path,
                line,
                f"the id of {shortened(symbol, _QUOTED)} is {shortened(index, _QUOTED)}, "
                "not a whole number",
            )
        entries.append(_TokenLine(line, symbol, int(index)))
    return entries


def _in_order(path: Path, entries: Sequence[_TokenLine]) -> tuple[str, ...]:
    by_id: dict[int, _TokenLine] = {}
    by_symbol: dict[str, _TokenLine] = {}
    for entry in entries:
        line, symbol, index = entry
        if index in by_id:
            raise _bad_line(
                path, line, f"id {index} already belongs to {shortened(by_id[index].symbol)}"
            )
        if symbol in by_symbol:
            earlier = by_symbol[symbol].line
            raise _bad_line(path, line, f"symbol {shortened(symbol)} is already on line {earlier}")
        if index >= len(entries):
            last = len(entries) - 1
            raise _bad_line(path, line, f"id {index} leaves a gap: the ids must be 0 to {last}")
        by_id[index] = by_symbol[symbol] = entry
    return tuple(by_id[index].symbol for index in range(len(by_id)))


def _bad_line(path: Path, line: int, what: str) -> TokensError:
    return TokensError(
        what,
        where=f"{path}, line {line}",
        fix="a tokens.txt has one pair 'symbol id' a line, with the ids 0, 1, 2, ...",
    )
