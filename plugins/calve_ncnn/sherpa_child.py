"""The child that runs sherpa-ncnn: a JSON task on stdin, a JSON line per recording on stdout.

The task is ``{"bundle": str, "paths": [str], "num_threads": int, "tail_seconds": float}``, a line
has the fields of `calve.protocols.ClientResult` but ``path``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from calve.audio import read_audio
from calve.bundle import TOKENS_FILE
from calve_ncnn.layout import NETWORKS, bin_path, param_path

__all__ = ["main"]


def main() -> int:
    """Do what stdin says; the exit code."""
    import sherpa_ncnn

    task = json.load(sys.stdin)
    # sherpa-ncnn's C++ writes to stdout; only our lines belong there.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    bundle = Path(task["bundle"])
    files = {}
    for network in NETWORKS:
        files[f"{network}_param"] = str(param_path(bundle, network))
        files[f"{network}_bin"] = str(bin_path(bundle, network))
    start = time.perf_counter()
    recognizer = sherpa_ncnn.Recognizer(
        tokens=str(bundle / TOKENS_FILE),
        num_threads=task["num_threads"],
        decoding_method="greedy_search",
        **files,
    )
    load_seconds = time.perf_counter() - start
    for path in task["paths"]:
        result = _transcribe(recognizer, path, task["tail_seconds"])
        results.write(json.dumps({**result, "load_seconds": load_seconds}) + "\n")
        results.flush()
    return 0


def _transcribe(recognizer: Any, path: str, tail_seconds: float) -> dict[str, Any]:
    audio = read_audio(path, recognizer.sample_rate)
    tail = np.zeros(round(tail_seconds * recognizer.sample_rate), np.float32)
    # A stream of its own: resetting an old one would keep the encoder's states.
    recognizer.stream = recognizer.recognizer.create_stream()
    start = time.perf_counter()
    recognizer.accept_waveform(recognizer.sample_rate, audio.samples)
    recognizer.accept_waveform(recognizer.sample_rate, tail)
    recognizer.input_finished()
    seconds = time.perf_counter() - start
    return {"text": recognizer.text.strip(), "duration": audio.duration, "decode_seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
