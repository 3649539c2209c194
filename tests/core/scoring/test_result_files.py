"""Results as icefall's text files, and as a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import escape

from calve.scoring.error_rates import DecodedUtterance, score
from calve.scoring.result_files import ResultFiles, write_results

UTTERANCES = [
    DecodedUtterance("b", "one two three", "one four five", (0.04, 0.2, 1.0)),
    DecodedUtterance("a", "six seven eight", "six eight nine"),
    DecodedUtterance("c", "two", "four"),
]


def written(tmp_path: Path, utterances: list[DecodedUtterance], unit: str = "word") -> ResultFiles:
    files = ResultFiles.named(tmp_path / "greedy_search", "test", "greedy_search", "epoch-3-avg-1")
    write_results(files, "greedy_search", utterances, score(utterances, unit))
    return files


def test_files_have_icefalls_names(tmp_path: Path):
    files = written(tmp_path, UTTERANCES)
    assert sorted(path.name for path in files.recogs.parent.iterdir()) == [
        "errs-test-greedy_search-epoch-3-avg-1.html",
        "errs-test-greedy_search-epoch-3-avg-1.txt",
        "recogs-test-greedy_search-epoch-3-avg-1.txt",
        "wer-summary-test-greedy_search-epoch-3-avg-1.txt",
    ]
    assert ResultFiles.named(tmp_path, "test", "beam_4").recogs.name == "recogs-test-beam_4.txt"


def test_recogs_hold_lists_of_words_in_the_order_of_names(tmp_path: Path):
    assert written(tmp_path, UTTERANCES).recogs.read_text() == (
        "a:\tref=['six', 'seven', 'eight']\n"
        "a:\thyp=['six', 'eight', 'nine']\n"
        "b:\tref=['one', 'two', 'three']\n"
        "b:\thyp=['one', 'four', 'five']\n"
        "b:\ttimestamp_hyp=[0.040, 0.200, 1.000]\n"
        "c:\tref=['two']\n"
        "c:\thyp=['four']\n"
    )


def test_errs_have_icefalls_sections(tmp_path: Path):
    text = written(tmp_path, UTTERANCES).errs.read_text()
    interval = next(line for line in text.splitlines() if line.startswith("95% confidence"))
    assert text.replace(interval + "\n", "") == (
        "%WER = 71.43\n"
        "Errors: 1 insertions, 1 deletions, 3 substitutions, over 7 reference words (3 correct)\n"
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, "
        "INSERTIONS:, PER-WORD STATS:\n"
        "\n"
        "PER-UTT DETAILS: corr or (ref->hyp)  \n"
        "a:\tsix (seven->*) eight (*->nine)\n"
        "b:\tone (two three->four five)\n"
        "c:\t(two->four)\n"
        "\n"
        "SUBSTITUTIONS: count ref -> hyp\n"
        "2   two -> four\n"
        "1   three -> five\n"
        "\n"
        "DELETIONS: count ref\n"
        "1   seven\n"
        "\n"
        "INSERTIONS: count hyp\n"
        "1   nine\n"
        "\n"
        "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp\n"
        "two   0 2 2 0\n"
        "four   0 2 0 2\n"
        "three   0 1 1 0\n"
        "seven   0 1 1 0\n"
        "nine   0 1 0 1\n"
        "five   0 1 0 1\n"
        "six   1 0 1 1\n"
        "one   1 0 1 1\n"
        "eight   1 0 1 1\n"
    )
    low, high = map(float, re.findall(r"\d+\.\d\d", interval))
    assert low < 71.43 < high


def test_the_summary_has_the_settings_and_the_rate(tmp_path: Path):
    files = written(tmp_path, UTTERANCES)
    assert files.summary.read_text() == "settings\tWER\ngreedy_search\t71.43\n"
    characters = written(tmp_path, [DecodedUtterance("a", "ab cd", "ab cx")], "character")
    assert characters.summary.read_text() == "settings\tCER\ngreedy_search\t25.00\n"
    assert "over 4 reference characters" in characters.errs.read_text()


def test_references_without_words_have_no_rate(tmp_path: Path):
    files = written(tmp_path, [DecodedUtterance("a", "", "one")])
    assert files.summary.read_text() == "settings\tWER\ngreedy_search\tundefined\n"
    assert "confidence" not in files.errs.read_text()
    assert "undefined" in files.page.read_text()


def test_the_page_marks_every_kind_of_error_and_lists_the_worst_first(tmp_path: Path):
    text = written(tmp_path, [*UTTERANCES, DecodedUtterance("d", "fine", "fine")]).page.read_text()
    assert '<span class="sub"><s>two</s> four</span>' in text
    assert '<span class="del"><s>seven</s></span>' in text
    assert '<span class="ins">nine</span>' in text
    names = re.findall(r"<small>(\w) ·", text)
    assert names == ["a", "b", "c", "d"]
    assert text.index("<details>") < text.index("<small>d ·")
    assert "<script" not in text
    assert "http" not in text


@pytest.mark.parametrize("word", ["<i>", "&", "a\"'b"])
def test_the_page_escapes_what_was_said(tmp_path: Path, word: str):
    utterances = [DecodedUtterance(f"name{word}", f"{word} x", f"x {word}")]
    text = written(tmp_path, utterances).page.read_text()
    assert f"{escape(word)}</s>" in text
    assert f"name{escape(word)} ·" in text
    assert f"{word}</s>" not in text
