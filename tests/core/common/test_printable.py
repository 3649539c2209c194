"""Control characters are shown, not obeyed."""

from __future__ import annotations

import json
import os
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.common.printable import json_text, one_line, printable, shortened, size_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 中 ▁word", "plain ü 中 ▁word"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("back\rwards", r"back\rwards"),
        ("\x9b2J", r"\x9b2J"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("name-\udcff", r"name-\udcff"),
        ("zero width joiner \u200d stays", "zero width joiner \u200d stays"),
    ],
)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(max_codepoint=0xFFFD)))
def test_what_is_shown_can_be_written_and_steers_no_terminal(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert all(one.isprintable() or one in "\n\t" or ord(one) >= 0xA0 for one in shown)
    assert printable(shown) == shown


def test_what_is_shown_is_allowed_in_xml() -> None:
    text = printable("".join(map(chr, (*range(0x20), *range(0x7F, 0xA0)))))
    assert ElementTree.fromstring(f"<a>{text}</a>").text == text


def test_a_name_in_a_list_stays_on_one_line() -> None:
    assert one_line("a\nError:\tb\x1b[2J\u2028c") == r"a\nError:\tb\x1b[2J\u2028c"


@given(st.text(st.characters(), max_size=20))
def test_json_of_any_name_is_utf8_without_control_characters_and_gives_the_name_back(
    name: str,
) -> None:
    text = json_text({name: [name]}, indent=2)
    assert json.loads(text.encode("utf-8").decode("utf-8")) == {name: [name]}
    assert printable(text) == text


def test_the_bytes_of_a_file_name_come_back_from_json() -> None:
    name = b"caf\xe9.wav"
    assert os.fsencode(json.loads(json_text(os.fsdecode(name)))) == name


def test_json_keeps_readable_letters() -> None:
    assert json_text("ü 中") == '"ü 中"'
    assert json_text("ü", ascii_only=True) == r'"\u00fc"'


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KB"),
        (503 * 1024, "503 KB"),
        (159 * 2**20, "159 MB"),
        (3 * 2**30, "3.0 GB"),
    ],
)
def test_sizes_read_as_ls_prints_them(size: int, text: str):
    assert size_text(size) == text


def test_long_values_are_cut_in_messages():
    assert shortened("x" * 100) == "'" + "x" * 36 + "..."
    assert shortened(10**5000) == "a number with thousands of digits"
