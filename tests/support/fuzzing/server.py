"""Runs commands in forks of one process that has imported everything already.

A fork costs milliseconds where a fresh interpreter costs a second; a crash costs the fork only.
`Server` is the side of the campaign, ``python -m fuzzing.server`` the process that forks. Both
speak lines of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["MEMORY", "Ended", "Limits", "Server"]

MEMORY = 3 * 2**30
"""Bytes of address space that a command may take in addition to what its imports took."""


@dataclass(frozen=True)
class Limits:
    """What a command may use: seconds by the clock, and seconds of one processor."""

    seconds: float = 60.0
    processor_seconds: int = 15


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
      code: Exit code; negative for a signal; None if it ran into a limit.
      seconds: How long it ran.
    """

    code: int | None
    seconds: float


class Server:
    """One process that forks; start several for several processors."""

    def __init__(self, warm_up: Sequence[Sequence[str]] = (), folder: Path | None = None) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CALVE_")}
        path = os.pathsep.join((str(Path(__file__).resolve().parents[1]), *sys.path[1:2]))
        environment |= {
            "PYTHONPATH": path,
            "PYTHONSAFEPATH": "1",
            "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        }
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            text=True,
        )
        self._answer({"warm_up": [list(arguments) for arguments in warm_up]})

    def run(self, entry: Sequence[str], folder: Path, limits: Limits = Limits()) -> Ended:
        """Run ``calve`` with the arguments ``entry`` in ``folder/work``.

        What it prints is in ``folder/stdout`` and ``folder/stderr``; its TMPDIR is ``folder/tmp``.
        """
        job = {"arguments": list(entry), "folder": str(folder), "limits": asdict(limits)}
        return Ended(**self._answer(job))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the fork server has died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _serve() -> None:
    """Read jobs on stdin until it is closed; answer on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        if "warm_up" in job:
            _warm_up(job["warm_up"])
            answer: dict[str, Any] = {}
        else:
            answer = _run(job)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _warm_up(commands: list[list[str]]) -> None:
    """Run commands once, so that their forks find modules imported and loops compiled."""
    import calve.cli.application

    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        codes = [calve.cli.application.run(arguments) for arguments in commands]
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        said.seek(0)
        if any(codes):
            print(codes, said.read().decode(errors="replace"), file=sys.stderr)


def _run(job: dict[str, Any]) -> dict[str, Any]:
    folder = Path(job["folder"])
    limits = Limits(**job["limits"])
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            _become(folder, limits)
            code = _calve(job["arguments"])
        except BaseException as error:
            sys.stderr.write(f"Traceback: {error!r}\n")
            code = 70
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)
    code = _wait(pid, limits.seconds)
    return {"code": code, "seconds": time.monotonic() - started}


def _wait(pid: int, seconds: float) -> int | None:
    """The exit code, or None after the limit, when the whole group is killed."""
    descriptor = os.pidfd_open(pid)
    in_time = bool(select.select([descriptor], [], [], seconds)[0])
    os.close(descriptor)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if in_time and code != -signal.SIGXCPU else None


def _become(folder: Path, limits: Limits) -> None:
    """Take the place of a fresh interpreter that a shell started in the folder."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder / "work")
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.environ |= {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home")}
    tempfile.tempdir = None
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    sys.stderr = os.fdopen(os.dup(2), "w", 1, encoding="utf-8", errors="backslashreplace")
    # What native code prints goes to stderr, as `calve.cli.application.main` has it.
    os.dup2(2, 1)
    faulthandler.enable(file=2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    seconds = limits.processor_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))


def _calve(arguments: list[str]) -> int:
    import calve.cli.application

    sys.argv = ["calve", *arguments]
    if arguments[0].startswith("fuzzing_faults:"):
        return _fault(arguments[0].removeprefix("fuzzing_faults:"))
    return calve.cli.application.run(arguments)


def _fault(name: str) -> int:
    """Something that must not happen, to try the judge on it."""
    from fuzzing import faults

    code: int = getattr(faults, name)()
    return code


if __name__ == "__main__":
    _serve()
