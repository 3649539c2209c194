"""Symbols that stand for bytes."""

from __future__ import annotations

import pytest

from calve.data.byte_symbols import BYTE_LETTERS, is_byte_bpe, symbol_bytes

LETTER_OF = {byte: letter for letter, byte in BYTE_LETTERS.items()}


def test_every_byte_has_one_letter():
    assert sorted(BYTE_LETTERS.values()) == list(range(256))


@pytest.mark.parametrize("letter", ["a", "Z", "0", "~", " "])
def test_printable_ascii_is_its_own_letter(letter: str):
    assert BYTE_LETTERS[letter] == ord(letter)


def test_other_bytes_have_letters_outside_of_latin_1():
    others = [letter for letter, byte in BYTE_LETTERS.items() if not 0x20 <= byte < 0x7F]
    assert min(others) >= "\u0100"


def test_text_in_byte_letters_is_utf_8():
    letters = "".join(LETTER_OF[byte] for byte in "这".encode())
    assert symbol_bytes("▁" + letters, byte_bpe=True).decode() == " 这"


def test_byte_fallback_symbols_are_single_bytes():
    assert symbol_bytes("<0xE7>", byte_bpe=False) == b"\xe7"
    assert symbol_bytes("<0xe7>", byte_bpe=False) == b"\xe7"
    assert symbol_bytes("<0xE7>x", byte_bpe=False) == b"<0xE7>x"
    assert symbol_bytes("▁on", byte_bpe=False) == b" on"


def test_a_vocabulary_is_byte_level_if_it_has_a_letter_of_a_high_byte():
    high = LETTER_OF[0xE7]
    assert high >= "\u0180"
    assert is_byte_bpe(["▁a", high])
    assert not is_byte_bpe(["▁a", "b"])
    assert not is_byte_bpe(["▁a", high, "这"])
    assert not is_byte_bpe([])
