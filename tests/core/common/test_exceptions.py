"""One-line descriptions of exceptions."""

from __future__ import annotations

import pytest

from calve.common.exceptions import describe
from calve.errors import DataError


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (KeyError(), "KeyError"),
        (DataError("it is empty", where="a.txt", fix="fill it"), "it is empty"),
        (SystemExit(3), "it called exit(3)"),
        (SystemExit(), "it called exit()"),
        (_SpeechlessError(), "_SpeechlessError"),
    ],
)
def test_an_exception_is_described_in_one_line(error: BaseException, description: str):
    assert describe(error) == description
