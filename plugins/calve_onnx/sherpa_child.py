"""The child that runs sherpa-onnx: a JSON task on stdin, a JSON line per recording on stdout.

The task is ``{"networks": {name: str}, "tokens": str, "paths": [str], "num_threads": int,
"tail_seconds": float}``, a line has the fields of `calve.protocols.ClientResult` but ``path``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

from calve.audio import read_audio

__all__ = ["main"]

_SAMPLE_RATE = 16000

_ONE_FRAME = 0.01
"""Seconds. sherpa-onnx takes a step only if a frame beyond it is there, so it needs one more."""


def main() -> int:
    """Do what stdin says; the exit code."""
    import sherpa_onnx

    task = json.load(sys.stdin)
    # sherpa-onnx's C++ may write to stdout; only our lines belong there.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    start = time.perf_counter()
    recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
        tokens=task["tokens"],
        num_threads=task["num_threads"],
        sample_rate=_SAMPLE_RATE,
        decoding_method="greedy_search",
        **task["networks"],
    )
    load_seconds = time.perf_counter() - start
    for path in task["paths"]:
        result = _transcribe(recognizer, path, task["tail_seconds"])
        results.write(json.dumps({**result, "load_seconds": load_seconds}) + "\n")
        results.flush()
    return 0


def _transcribe(recognizer: Any, path: str, tail_seconds: float) -> dict[str, Any]:
    audio = read_audio(path, _SAMPLE_RATE)
    tail = np.zeros(round((tail_seconds + _ONE_FRAME) * _SAMPLE_RATE), np.float32)
    stream = recognizer.create_stream()
    start = time.perf_counter()
    stream.accept_waveform(_SAMPLE_RATE, audio.samples)
    stream.accept_waveform(_SAMPLE_RATE, tail)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    seconds = time.perf_counter() - start
    text = recognizer.get_result(stream).strip()
    return {"text": text, "duration": audio.duration, "decode_seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
