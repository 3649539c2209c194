"""k2 in another Python: the driver ``k2-elsewhere`` of ``calve.fsa_backends``.

The last wheel of k2 on PyPI requires Python 3.9, which calve does not support. The environment
variable ``CALVE_K2_PYTHON`` names the interpreter of an environment with k2. A child process there
walks through the graph. Everything else runs in this process.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import CalveError, ConfigError

__all__ = ["PYTHON", "K2Elsewhere"]

PYTHON = "CALVE_K2_PYTHON"
"""The environment variable that names an interpreter with k2."""

_CHILD = Path(__file__).with_name("walking_child.py")
_HINT = "make an environment of Python 3.9 with k2==1.23.2, torch==1.12.1 and numpy<2"


class K2Elsewhere:
    """A `calve.protocols.FsaBackend`: `calve_k2.walking.K2Walker` in a child process.

    Args:
      graph, options: Arguments of `calve_k2.walking.K2Walker`.

    Raises:
      ConfigError: if ``CALVE_K2_PYTHON`` does not name a Python interpreter.
      CalveError: if that interpreter has no k2, or if k2 fails.
    """

    def __init__(self, *graph: NDArray[Any], **options: Any) -> None:
        python = os.environ.get(PYTHON, "")
        if not Path(python).is_file():
            raise ConfigError(f"{PYTHON} is {python!r}; it must name a Python with k2", fix=_HINT)
        self._child = _running_child(python)
        self._walker = self._child.keep(_MODULE, "K2Walker", *graph, **options)

    @property
    def seconds(self) -> float:
        """CPU time of all walks in the child process."""
        return self._child.seconds

    def start(self) -> Any:
        """Return a new stream."""
        return self._child.keep(self._walker, "start")

    def walk(self, streams: Sequence[Any]) -> _Walk:
        """Start a walk of several streams."""
        return _Walk(self._child, self._child.keep(self._walker, "walk", list(streams)))

    def lattice(self, stream: Any, *, allow_partial: bool) -> tuple[Any, Any, Any, Any, int]:
        """Return the surviving paths."""
        columns: tuple[Any, Any, Any, Any, int] = self._child.call(
            self._walker, "lattice", stream, allow_partial=allow_partial
        )
        return columns


class _Walk:
    """Walk of several streams in the child process."""

    def __init__(self, child: _Child, walk: _Kept) -> None:
        self._child = child
        self._walk = walk

    def contexts(self, active: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the stream of each context (R,), and the contexts (R, context_size)."""
        owners, contexts = self._child.call(self._walk, "contexts", active)
        return owners, contexts

    def advance(self, log_probs: NDArray[np.float32]) -> None:
        """Advance the streams by one frame, with the log probabilities (R, vocab_size)."""
        self._child.call(self._walk, "advance", log_probs)

    def finish(self) -> None:
        """End the walk and update the streams."""
        self._child.call(self._walk, "finish")


class _Kept:
    """Stands for an object in the child process."""

    def __init__(self, number: int) -> None:
        self.number = number


_MODULE = _Kept(0)
"""Stands for the module `calve_k2.walking`."""


class _Calls(pickle.Pickler):
    """Pickles calls; objects of the child process become numbers."""

    def persistent_id(self, obj: Any) -> int | None:
        return obj.number if isinstance(obj, _Kept) else None


class _Child:
    """The child process and its connection.

    Attributes:
      seconds: CPU time of all calls.
    """

    def __init__(self, python: str) -> None:
        self.seconds = 0.0
        self._python = python
        self._numbers = count(1)
        self._forgotten: list[int] = []
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        try:
            # Isolated, so that the file's folder does not shadow packages of the same names.
            self._process = subprocess.Popen(
                [python, "-I", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except OSError as error:
            raise ConfigError(
                f"{PYTHON} cannot be run: {error.strerror}", where=python, fix=_HINT
            ) from error

    @property
    def is_running(self) -> bool:
        """Whether the process can take calls."""
        return self._process.poll() is None

    def keep(self, target: _Kept, name: str, *arguments: Any, **options: Any) -> _Kept:
        """Call a function of an object in the child process; keep the result there."""
        number = next(self._numbers)
        self._ask(target, name, arguments, options, number)
        kept = _Kept(number)
        # Deferred, because this may happen in the middle of a call.
        weakref.finalize(kept, self._forgotten.append, number)
        return kept

    def call(self, target: _Kept, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a function of an object in the child process."""
        return self._ask(target, name, arguments, options, None)

    def _ask(self, *call: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            forgotten = [self._forgotten.pop() for _ in range(len(self._forgotten))]
            try:
                _Calls(self._process.stdin, protocol=4).dump((*call, forgotten))
                self._process.stdin.flush()
                returned, problem, seconds = pickle.load(self._process.stdout)
            except (OSError, EOFError) as error:
                raise CalveError(
                    f"k2 ended: {self._last_words()}", where=self._python, fix=_HINT
                ) from error
            except BaseException:
                self._process.kill()  # its answer would be mistaken for that of the next call
                raise
            self.seconds += seconds
        if problem is not None:
            raise CalveError(f"k2 failed: {problem}", where=self._python)
        return returned

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


_children: dict[tuple[str, int], _Child] = {}


def _running_child(python: str) -> _Child:
    """Return the process of an interpreter; it ends with its stdin, when this process ends."""
    key = (python, os.getpid())  # a fork must not use its parent's child
    if key not in _children or not _children[key].is_running:
        _children[key] = _Child(python)
    return _children[key]
