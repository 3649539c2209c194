"""Tables and JSON on stdout."""

from __future__ import annotations

import json

import pytest

from calve.cli.output import print_json, print_table


def test_numbers_are_aligned_right_and_words_left(capsys: pytest.CaptureFixture[str]):
    print_table(("file", "size"), [("a", 5), ("long name", 1234), ("b", None)])
    assert capsys.readouterr().out.splitlines() == [
        "file       size",
        "---------  ----",
        "a             5",
        "long name  1234",
        "b             –",
    ]


def test_a_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]):
    print_table(("file", "size"), [])
    assert capsys.readouterr().out.splitlines() == ["file  size", "----  ----"]


def test_json_is_one_line_with_letters_as_they_are(capsys: pytest.CaptureFixture[str]):
    print_json({"token": "▁ein", "text": "ä"})
    output = capsys.readouterr().out
    assert output == '{"token": "▁ein", "text": "ä"}\n'
    assert json.loads(output)["text"] == "ä"
