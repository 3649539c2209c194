"""Serves `calve_k2.walking` to a calve that runs in another Python; see `calve_k2.elsewhere`.

The Python with k2 runs this file. It imports only the standard library, torch and k2. It reads
pickled calls from stdin and writes answers to stdout: the result or the error, and the CPU time in
seconds.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import torch


class Calls(pickle.Unpickler):
    """Unpickles calls, in which numbers stand for objects of this process."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.kept: dict[int, Any] = {0: _walking()}

    def persistent_load(self, pid: Any) -> Any:
        """The object of a number; 0 is the module `calve_k2.walking`."""
        return self.kept[pid]


def main() -> None:
    """Serve calls until stdin ends."""
    torch.set_num_threads(1)
    calls, answers = Calls(sys.stdin.buffer), sys.stdout.buffer
    sys.stdout = sys.stderr  # what k2 prints must not get among the answers
    while True:
        try:
            call = calls.load()
        except EOFError:
            return
        before = time.process_time()
        try:
            returned, problem = _answer(calls.kept, *call), None
        except Exception as error:
            returned, problem = None, f"{type(error).__name__}: {error}"
        seconds = time.process_time() - before
        pickle.dump((returned, problem, seconds), answers, protocol=4)
        answers.flush()


def _walking() -> Any:
    """Load the module `calve_k2.walking` from its file; calve need not be installed."""
    path = str(Path(__file__).with_name("walking.py"))
    spec = importlib.util.spec_from_file_location("walking", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(
    kept: dict[int, Any],
    target: Any,
    name: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    keep_as: int | None,
    forgotten: list[int],
) -> Any:
    """Call a function of an object.

    Args:
      keep_as: Keep the result under this number and return nothing.
      forgotten: Numbers of objects that are no longer used.
    """
    for number in forgotten:
        kept.pop(number, None)
    returned = getattr(target, name)(*arguments, **options)
    if keep_as is None:
        return returned
    kept[keep_as] = returned
    return None


if __name__ == "__main__":
    main()
