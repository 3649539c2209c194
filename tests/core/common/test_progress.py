"""Progress on a terminal and in a log."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from calve.common.progress import NO_PROGRESS, console_progress, tracked

WORK = """
from calve.common.progress import console_progress
progress = console_progress()
progress.start("prepare", 3)
for _ in range(3):
    progress.advance(note="a note")
progress.finish()
progress.start("again")
progress.advance()
progress.finish()
print("result")
"""


def test_a_log_gets_sparse_lines_and_stdout_only_the_result():
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    lines = done.stderr.splitlines()
    assert [line.split(" in ")[0] for line in lines] == [
        "prepare ...",
        "prepare: done",
        "again ...",
        "again: done",
    ]


def test_long_work_says_now_and_then_how_far_it_is(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("calve.common.progress.time.monotonic", lambda: next(clock))
    progress = console_progress()
    progress.start("train", 100)
    progress.advance(0)
    progress.advance(0)
    for _ in range(4):
        progress.advance(note="loss 1.2")
    progress.finish()
    assert capsys.readouterr().err.splitlines() == [
        "train ...",
        "train: 0/100",
        "train: 2/100 (32:40 left) loss 1.2",
        "train: 4/100 (24:00 left) loss 1.2",
        "train: done in 70.0 s",
    ]


def test_work_that_ends_early_is_not_called_done(capsys):
    progress = console_progress()
    progress.abandon()
    progress.start("train", 100)
    progress.abandon()
    begun, ended = capsys.readouterr().err.splitlines()
    assert begun == "train ..."
    assert ended.startswith("train: stopped after 0.0")


def on_a_terminal(program: str) -> str:
    """What a program shows on a terminal of 80 columns."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=terminal,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as child:
        child.wait(timeout=60)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    return shown


def test_a_narrow_terminal_has_room_for_a_long_note_and_the_count():
    note = "loss 0.689 (simple 1.378, pruned 3.578)  lr 3.00e-03  10.6 utt/s"
    shown = on_a_terminal(WORK.replace("a note", note))
    assert note in shown
    assert "3/3" in shown
    assert "…" not in shown


def test_a_terminal_gets_a_bar_and_its_cursor_back():
    shown = on_a_terminal(WORK.replace("progress.finish()", "raise SystemExit", 1))
    assert "prepare" in shown
    assert "3/3" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_no_progress_says_nothing(capsys):
    NO_PROGRESS.start("x", 1)
    NO_PROGRESS.advance()
    NO_PROGRESS.finish()
    NO_PROGRESS.abandon()
    assert capsys.readouterr() == ("", "")


def test_a_tracked_task_is_done_or_abandoned(capsys):
    progress = console_progress()
    with tracked(progress, "train"):
        progress.advance()
    with pytest.raises(KeyboardInterrupt), tracked(progress, "stumble", 3):
        raise KeyboardInterrupt
    progress.finish()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" 0.")[0] for line in lines] == [
        "train ...",
        "train: done in",
        "stumble ...",
        "stumble: stopped after",
    ]
