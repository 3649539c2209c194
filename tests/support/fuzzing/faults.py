"""Commands that do what must not happen. The tests of the judge run them."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from fuzzing.blobs import SECRET
from fuzzing.values import CANARY

__all__: list[str] = []


def nothing_wrong() -> int:
    return 0


def crashes() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def hangs() -> int:
    time.sleep(1000)
    return 0


def works_for_ever() -> int:
    while True:
        pass


def is_unexpected() -> int:
    print("Error: unexpected KeyError: 'x'", file=sys.stderr)
    return 1


def exits_oddly() -> int:
    print("Error: what", file=sys.stderr)
    return 77


def fails_in_silence() -> int:
    return 1


def leaves_half_an_output() -> int:
    Path("output").mkdir()
    print("Error: what", file=sys.stderr)
    return 1


def leaves_a_hidden_output() -> int:
    Path(".output.1234").mkdir()
    return 0


def leaves_a_scratch_folder() -> int:
    tempfile.mkdtemp()
    return 0


def writes_elsewhere() -> int:
    Path("elsewhere.txt").write_text("x")
    return 0


def changes_an_input() -> int:
    path = Path("input.txt")
    path.write_text(path.read_text() + "more")
    return 0


def executes() -> int:
    os.system(f"touch ../{CANARY}")
    return 0


def tells_a_secret() -> int:
    print(f"Error: not a number: {SECRET}", file=sys.stderr)
    return 1


def prints_escapes() -> int:
    print("\x1b[31mred", file=sys.stderr)
    return 1


def prints_broken_json() -> int:
    print("{'a': 1}")
    return 0
