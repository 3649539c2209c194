"""Child processes. A child may crash, hang or exhaust its memory without affecting calve."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

try:
    from resource import RLIMIT_AS, prlimit
except ImportError:  # only Linux can limit another process
    prlimit = None  # type: ignore[assignment]

from calve.common.environment import variable_set

__all__ = ["Child", "Outcome", "current_folder_is_not_imported_from", "run_children"]

_SAFE_PATH = "PYTHONSAFEPATH"
"""With it, Python 3.11 and later do not look for modules in the current folder."""

_POLL_SECONDS = 0.02
_TAIL_LINES = 15
_GRACE_SECONDS = 2.0
"""Seconds that a child has to stop its own children when it is stopped."""


@dataclass(frozen=True)
class Child:
    """A command to run.

    Attributes:
      name: Name for messages.
      command: Program and arguments.
      folder: Working directory; it holds the log ``NAME.log`` and, if any, ``NAME.stdout``.
      time_limit: Seconds until the child is killed.
      input: Text for standard input.
      memory_limit: Bytes of address space, if the system can limit it (Linux).
      keep_stdout: Whether stdout is separate from the log.
    """

    name: str
    command: Sequence[str]
    folder: Path
    time_limit: float
    input: str = ""
    memory_limit: int | None = None
    keep_stdout: bool = False


@dataclass(frozen=True)
class Outcome:
    """Result of a child.

    Attributes:
      returncode: As `subprocess` has it, negative for a signal; None if the time limit was hit.
      log: Output on stderr, and on stdout unless that is separate.
      stdout: Output on stdout, if separate.
    """

    child: Child
    returncode: int | None
    seconds: float
    log: str
    stdout: str

    @property
    def failure(self) -> str | None:
        """Description of the failure, or None."""
        if self.returncode is None:
            return f"did not finish within {self.child.time_limit:g} s and was stopped"
        if self.returncode < 0:
            return f"crashed with {_signal_name(-self.returncode)}"
        if self.returncode - 128 in signal.valid_signals():  # as shells and wrappers say it
            return f"crashed with {_signal_name(self.returncode - 128)}"
        return f"exited with code {self.returncode}" if self.returncode else None

    @property
    def tail(self) -> str:
        """The log's last lines, indented, for messages."""
        lines = self.log.strip().splitlines()[-_TAIL_LINES:]
        return "\n".join(f"    | {line}" for line in lines) or "    | (it printed nothing)"


class _Running:
    """A started child with its files."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.returncode: int | None = None
        self.log_path = child.folder / f"{child.name}.log"
        self.stdout_path = child.folder / f"{child.name}.stdout"
        input_path = child.folder / f"{child.name}.stdin"
        input_path.write_text(child.input, encoding="utf-8")
        self.started = time.monotonic()
        self.seconds = 0.0
        with (
            input_path.open("rb") as stdin,
            self.log_path.open("wb") as log,
            self.stdout_path.open("wb") as stdout,
        ):
            # Its own session, so that the whole family can be killed and Ctrl-C reaches only calve.
            self.process = subprocess.Popen(
                list(child.command),
                cwd=child.folder,
                stdin=stdin,
                stdout=stdout if child.keep_stdout else log,
                stderr=log,
                start_new_session=True,
            )
        if child.memory_limit is not None and prlimit is not None:
            with suppress(OSError):  # it may have ended already
                prlimit(self.process.pid, RLIMIT_AS, (child.memory_limit, child.memory_limit))

    def finished(self) -> bool:
        """Whether the child has ended, by itself or by its time limit."""
        self.returncode = self.process.poll()
        self.seconds = time.monotonic() - self.started
        if self.returncode is None and self.seconds > self.child.time_limit:
            self.kill()
            return True
        return self.returncode is not None

    def kill(self) -> None:
        """Kill the child and its descendants.

        The first signal is that of Ctrl-C, so that a child that is calve itself ends its own
        children, which have their own sessions. Messages about the interruption are removed from
        the log.
        """
        logged = self.log_path.stat().st_size
        with suppress(subprocess.TimeoutExpired):
            self._signal(signal.SIGINT)
            self.process.wait(_GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait()
        os.truncate(self.log_path, logged)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def outcome(self) -> Outcome:
        log = self.log_path.read_text(encoding="utf-8", errors="replace")
        stdout = self.stdout_path.read_text(encoding="utf-8", errors="replace")
        return Outcome(self.child, self.returncode, self.seconds, log, stdout)


@contextmanager
def current_folder_is_not_imported_from() -> Iterator[None]:
    """Start Python processes in this block without the current folder on their module path.

    Otherwise they would import a ``random.py`` in the current folder. Python 3.10 has no such
    setting.
    """
    with variable_set(_SAFE_PATH, "1"):
        yield


def run_children(children: Iterable[Child]) -> list[Outcome]:
    """Run commands in parallel and wait for all of them.

    On any exception, including Ctrl-C, running children are killed.

    Raises:
      OSError: if a command cannot be started.
    """
    running: list[_Running] = []
    try:
        for child in children:
            running.append(_Running(child))
        waiting = list(running)
        while waiting:
            waiting = [one for one in waiting if not one.finished()]
            if waiting:
                time.sleep(_POLL_SECONDS)
    finally:
        for one in running:
            if one.process.poll() is None:
                one.kill()
    return [one.outcome() for one in running]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
