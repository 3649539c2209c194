"""Tables and JSON on stdout."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from calve.cli.application import run
from calve.cli.output import echo, print_error, print_json, print_table, styled, warn
from calve.errors import ConfigError


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


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


WORDS = "an utterance of which no word may be lost however narrow the terminal is"


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    stdout = _Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    rows = [("a.wav", WORDS, 5, "failed"), ("failed", "ok", 123, "passed")]
    print_table(("file", "text", "size", "result"), rows, outcomes="result")
    return stdout.getvalue()


@pytest.mark.parametrize("width", [40, 60])
def test_a_table_fits_the_terminal_and_loses_no_word(monkeypatch: pytest.MonkeyPatch, width: int):
    shown = re.sub("\x1b\\[[0-9;]*m", "", _on_a_terminal(monkeypatch, width))
    assert max(map(len, shown.splitlines())) <= width
    body = shown.partition("---")[2]
    assert set(WORDS.split()) <= set(body.split())
    assert {"5", "123", "a.wav", "failed", "passed"} <= set(body.split())


def test_headings_are_broken_before_numbers_are(monkeypatch: pytest.MonkeyPatch):
    stdout = _Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    columns = ("number of tensors", "number of bytes", "relative error of it")
    print_table(columns, [("1,864,600", "3,729,200", "0.001")])
    *heading, _, numbers = stdout.getvalue().splitlines()
    assert numbers.split() == ["1,864,600", "3,729,200", "0.001"]
    assert sorted(" ".join(heading).split()) == sorted(" ".join(columns).split())


@pytest.mark.parametrize("width", [8, 15])
def test_no_letter_is_lost_where_even_numbers_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, width: int
):
    stdout = _Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(("a", "b", "c"), [("123456", "789123", "words")])
    letters = sorted("abc123456789123words")
    assert sorted(re.sub(r"[\s-]", "", stdout.getvalue())) == letters


def test_outcomes_alone_have_colors_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = _on_a_terminal(monkeypatch, 100)
    assert re.findall(r"\x1b\[3\d\w*m(\w+)", shown) == ["failed", "passed"]
    assert "\x1b[31mfailed" in shown
    assert "\x1b[32mpassed" in shown


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _on_a_terminal(monkeypatch, 100)


def test_elsewhere_a_row_is_one_line_without_colors_however_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(("text", "result"), [(WORDS * 5, "ok")], outcomes="result")
    *_, line = capsys.readouterr().out.splitlines()
    assert line == f"{WORDS * 5}  ok"


def test_words_that_begin_with_a_digit_are_no_numbers(capsys: pytest.CaptureFixture[str]):
    print_table(("counts", "size"), [("2 encoders", "1.5 MB"), ("1 writer", "12 MB")])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "2 encoders  1.5 MB",
        "1 writer     12 MB",
    ]


def test_letters_that_stdout_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({"text": "ä😀"})
    stdout.flush()
    assert json.loads(stdout.buffer.getvalue()) == {"text": "ä😀"}


def test_json_is_one_line_with_letters_as_they_are(capsys: pytest.CaptureFixture[str]):
    print_json({"token": "▁ein", "text": "ä"})
    output = capsys.readouterr().out
    assert output == '{"token": "▁ein", "text": "ä"}\n'
    assert json.loads(output)["text"] == "ä"


HOSTILE = "\x1b]0;title\x07a\x9b2J\r\udce9"


@pytest.mark.parametrize("err", [False, True])
def test_control_characters_are_printed_as_escapes(capsys: pytest.CaptureFixture[str], err: bool):
    echo(f"name {HOSTILE}", err=err)
    captured = capsys.readouterr()
    assert (captured.err if err else captured.out) == (
        "name \\x1b]0;title\\x07a\\x9b2J\\r\\udce9\n"
    )


def test_only_styles_of_calve_reach_a_terminal(monkeypatch: pytest.MonkeyPatch):
    stdout = _Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    echo(styled(f"title {HOSTILE}", bold=True), "\x1b[31mred")
    assert stdout.getvalue() == (
        "\x1b[1mtitle \\x1b]0;title\\x07a\\x9b2J\\r\\udce9\x1b[0m\\x1b[31mred\n"
    )


def test_a_hostile_cell_stays_in_its_row(capsys: pytest.CaptureFixture[str]):
    print_table(("file", "text"), [("a\nb\x1b[2J", "two\twords")])
    assert capsys.readouterr().out.splitlines()[2:] == [r"a\nb\x1b[2J  two\twords"]


def test_errors_and_warnings_show_control_characters(capsys: pytest.CaptureFixture[str]):
    print_error(ConfigError(HOSTILE, where=HOSTILE))
    warn([HOSTILE])
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert shown.count(r"\x1b]0;title\x07a\x9b2J\r\udce9") == 3


def test_what_was_typed_is_shown_and_not_obeyed(capfd: pytest.CaptureFixture[str]):
    assert run(["transcribe", f"--{HOSTILE}"]) == 2
    assert run(["transcribe", "a", "b", "--chunk-ms", HOSTILE]) == 2
    shown = capfd.readouterr().err
    assert "\x1b" not in shown
    assert r"\x9b2J" in shown


def test_a_name_cannot_write_another_line_of_a_message(capsys: pytest.CaptureFixture[str]):
    print_error(ConfigError("it is missing", where="a\n  fix:   rm -r ~"))
    assert capsys.readouterr().err.splitlines() == [
        "Error: it is missing",
        r"  where: a\n  fix:   rm -r ~",
    ]
