from __future__ import annotations

import sys
from pathlib import Path

import pytest

from calve.common.measuring import (
    Contender,
    MeasuringError,
    in_turns,
    median_ratio,
    run_measurement,
)


def command(code: str, folder: Path) -> list[str]:
    """A child that runs ``code`` with ``task`` and ``result`` (a path) at hand."""
    script = folder / "child.py"
    script.write_text(
        "import json, os, pathlib, sys, time\n"
        "task, result = json.load(sys.stdin), pathlib.Path(sys.argv[1])\n" + code
    )
    return [sys.executable, str(script)]


def measure(code: str, folder: Path, time_limit: float = 30.0) -> dict[str, object]:
    return run_measurement("it", command(code, folder), {"number": 3}, time_limit=time_limit)


def test_a_child_gets_its_task_and_returns_its_result(tmp_path: Path) -> None:
    code = "result.write_text(json.dumps({'doubled': 2 * task['number']}))"
    assert measure(code, tmp_path) == {"doubled": 6}


def test_what_native_code_writes_to_stdout_is_no_result(tmp_path: Path) -> None:
    code = "os.write(1, b'{} ncnn says hello'); result.write_text(json.dumps({'a': 1}))"
    assert measure(code, tmp_path) == {"a": 1}


def test_a_child_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match=r"it did not finish within 0\.5 s"):
        measure("time.sleep(60)", tmp_path, time_limit=0.5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('the network is broken')", r"it exited with code 1(.|\n)*network is broken"),
        ("os.abort()", "it crashed with SIGABRT"),
        ("pass", "it ended without a result"),
        ("result.write_text('{')", "it ended without a result"),
    ],
)
def test_a_child_that_fails_is_an_error_with_its_log(
    tmp_path: Path, code: str, message: str
) -> None:
    with pytest.raises(MeasuringError, match=message):
        measure(code, tmp_path)


def test_contenders_run_in_turns() -> None:
    order: list[str] = []

    def contender(name: str) -> Contender[int]:
        def run() -> int:
            order.append(name)
            return len(order)

        return Contender(name, run)

    measured = in_turns([contender("a"), contender("b")], 2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert measured == [[3, 5], [4, 6]]


def test_a_ratio_is_taken_within_a_turn() -> None:
    assert median_ratio([1.0, 10.0, 4.0], [2.0, 20.0, 4.0]) == 0.5
