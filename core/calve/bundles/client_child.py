"""Child process of `calve.bundles.clients`: reads a task, runs a client, writes the texts."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["run_client"]


def run_client(
    load: Callable[[Mapping[str, Any]], Any],
    transcribe: Callable[[Any, str, float], Mapping[str, Any]],
) -> int:
    """Run the JSON task from stdin; write a JSON line to stdout for each recording.

    Args:
      load: ``(task)``: creates the client's recognizer. The task holds ``num_threads`` and the
        paths of networks and symbols.
      transcribe: ``(recognizer, path, tail_seconds)``: the fields of
        `calve.protocols.ClientResult` but ``path`` and ``load_seconds``.

    Returns:
      The exit code.
    """
    task = json.load(sys.stdin)
    # Clients write to stdout from C++; only result lines belong there.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as results:
        os.dup2(2, 1)
        start = time.perf_counter()
        recognizer = load(task)
        load_seconds = time.perf_counter() - start
        for path in task["paths"]:
            result = transcribe(recognizer, path, task["tail_seconds"])
            results.write(json.dumps({**result, "load_seconds": load_seconds}) + "\n")
            results.flush()
    return 0
