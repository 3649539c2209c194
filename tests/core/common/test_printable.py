"""Control characters are shown, not obeyed."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.common.printable import printable


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
