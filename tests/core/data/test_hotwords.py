"""The hotwords' file, and how many of them were recognized."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.data.hotwords import hotwords_in_words, read_hotwords
from calve.data.tokens import SymbolTable
from calve.errors import DataError
from calve.scoring.error_rates import DecodedUtterance
from calve.scoring.hotwords import HotwordCounts, count_hotwords


def counted(reference: str, hypothesis: str, *hotwords: str) -> dict[str, HotwordCounts]:
    return count_hotwords([DecodedUtterance("a", reference, hypothesis)], hotwords)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("call seven nine", "call seven nine", (1, 1, 0)),
        ("call seven nine", "call seven five", (1, 0, 0)),
        ("call seven nine", "call seven one nine", (1, 0, 0)),
        ("call seven nine", "seven nine", (1, 1, 0)),
        ("call five nine", "call seven nine", (0, 0, 1)),
        ("seven nine", "seven nine seven nine", (1, 1, 1)),
        ("call", "", (0, 0, 0)),
    ],
)
def test_a_hotword_is_recognized_if_all_its_words_are(
    reference: str, hypothesis: str, expected: tuple[int, int, int]
):
    assert counted(reference, hypothesis, "seven nine") == {"seven nine": HotwordCounts(*expected)}


def test_counts_add_up_over_utterances_and_hotwords():
    utterances = [DecodedUtterance("a", "one two", "one two"), DecodedUtterance("b", "two", "one")]
    counts = count_hotwords(utterances, ["one", "two"])
    assert counts == {"one": HotwordCounts(1, 1, 1), "two": HotwordCounts(2, 1, 0)}
    total = sum(counts.values(), HotwordCounts())
    assert total.recall == pytest.approx(100 * 2 / 3)
    assert HotwordCounts().recall is None


def test_hotwords_are_counted_in_words_however_they_are_written(tmp_path: Path):
    path = tmp_path / "hotwords.txt"
    path.write_text("▁SE VEN ▁NINE :2.5\nSEVEN NINE\n\nHELLO\n", encoding="utf-8")
    symbols = SymbolTable(("<blk>", "▁SE", "VEN", "▁NINE"))
    assert hotwords_in_words(path, symbols) == ("SEVEN NINE", "HELLO")


def test_phrases_and_scores_are_read_from_a_file(tmp_path: Path):
    path = tmp_path / "hotwords.txt"
    path.write_text("a b\n\n  c :2.5 \nd :-1\n", encoding="utf-8")
    assert read_hotwords(path) == [("a b", None), ("c", 2.5), ("d", -1.0)]


@pytest.mark.parametrize("content", ["", "\n \n", ":2\n"])
def test_a_file_without_hotwords_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "hotwords.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="no hotword"):
        read_hotwords(path)


def test_a_file_that_windows_saved_is_read(tmp_path: Path):
    path = tmp_path / "hotwords.txt"
    path.write_bytes("\ufeffseven one :2.5\r\nzero\r\n".encode())
    assert read_hotwords(path) == [("seven one", 2.5), ("zero", None)]


def test_hotwords_are_read_in_one_normal_form(tmp_path: Path):
    path = tmp_path / "hotwords.txt"
    path.write_text("cafe\u0301 :2\n", encoding="utf-8")
    assert read_hotwords(path) == [("caf\u00e9", 2.0)]
