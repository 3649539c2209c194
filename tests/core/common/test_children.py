from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from calve.common.children import Child, Outcome, run_children


def python(code: str, folder: Path, **options: object) -> Child:
    settings: dict[str, object] = {"name": "child", "time_limit": 30.0, **options}
    return Child(command=[sys.executable, "-c", code], folder=folder, **settings)  # type: ignore[arg-type]


def run(child: Child) -> Outcome:
    (outcome,) = run_children([child])
    return outcome


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed process that nobody has waited for is a zombie.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_child_that_ends_well_has_no_failure(tmp_path: Path) -> None:
    outcome = run(python("print('done')", tmp_path))
    assert outcome.failure is None
    assert outcome.log == "done\n"


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("raise SystemExit(139)", "crashed with SIGSEGV"),
        ("raise SystemExit(255)", "exited with code 255"),
        ("raise SystemExit(1)", "exited with code 1"),
    ],
)
def test_failures_are_named(tmp_path: Path, code: str, failure: str) -> None:
    assert run(python(code, tmp_path)).failure == failure


def test_a_hanging_child_stops_children_in_sessions_of_their_own(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from calve.common.children import Child, run_children\n"
        "inner = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "command = [sys.executable, '-c', inner]\n"
        "run_children([Child('inner', command, Path('.'), time_limit=60.0)])\n"
    )
    outcome = run(python(code, tmp_path, time_limit=3.0))
    assert outcome.failure == "did not finish within 3 s and was stopped"
    assert not is_running(int((tmp_path / "inner.log").read_text()))


def test_a_hanging_child_is_stopped_with_its_own_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    outcome = run(python(code, tmp_path, time_limit=1.5))
    assert time.monotonic() - start < 20
    assert outcome.failure == "did not finish within 1.5 s and was stopped"
    deadline = time.monotonic() + 5
    while is_running(int(outcome.log)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(outcome.log))


def test_a_child_that_eats_memory_fails_instead_of_the_machine(tmp_path: Path) -> None:
    code = "import time; time.sleep(0.5); block = bytearray(4 << 30)"
    outcome = run(python(code, tmp_path, memory_limit=1 << 30))
    assert outcome.failure == "exited with code 1"
    assert "MemoryError" in outcome.log


def test_children_run_side_by_side(tmp_path: Path) -> None:
    children = [
        python("import time; time.sleep(1.5)", tmp_path, name=f"child{index}") for index in range(3)
    ]
    start = time.monotonic()
    outcomes = run_children(children)
    assert all(outcome.failure is None for outcome in outcomes)
    assert time.monotonic() - start < 3.5


def test_ctrl_c_kills_the_children(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    child = python(code, tmp_path)
    log = tmp_path / "child.log"

    def interrupt_when_started() -> None:
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)

    interrupter = threading.Thread(target=interrupt_when_started)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        run_children([child])
    interrupter.join()
    assert not is_running(int(log.read_text()))


def test_a_child_that_cannot_start_kills_the_others(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    absent = Child("absent", [str(tmp_path / "absent")], tmp_path, 5.0)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError):
        run_children([python(code, tmp_path), absent])
    assert time.monotonic() - start < 20


def test_stdin_and_a_separate_stdout(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('note', file=sys.stderr)"
    outcome = run(python(code, tmp_path, input="text", keep_stdout=True))
    assert outcome.stdout == "TEXT\n"
    assert outcome.log == "note\n"


def test_the_tail_is_the_end_of_the_log(tmp_path: Path) -> None:
    outcome = run(python("for i in range(100): print('line', i)", tmp_path))
    assert outcome.tail.splitlines()[-1] == "    | line 99"
    assert "line 50" not in outcome.tail
