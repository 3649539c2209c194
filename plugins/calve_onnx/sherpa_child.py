"""Child process that runs sherpa-onnx; the task contains ``networks`` (by name) and ``tokens``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from calve.bundles.client_child import run_client
from calve.data.audio import read_audio

__all__ = ["main"]

_ONE_FRAME = 0.01
"""Seconds. sherpa-onnx takes a step only if a frame beyond it is there, so it needs one more."""


def main() -> int:
    """Do what stdin says; the exit code."""
    import sherpa_onnx

    def load(task: Mapping[str, Any]) -> Any:
        return sherpa_onnx.OnlineRecognizer.from_transducer(
            tokens=task["tokens"],
            num_threads=task["num_threads"],
            sample_rate=task["sample_rate"],
            decoding_method="greedy_search",
            **task["networks"],
        )

    return run_client(load, _transcribe)


def _transcribe(recognizer: Any, path: str, tail_seconds: float) -> dict[str, Any]:
    sample_rate = round(recognizer.config.feat_config.sampling_rate)
    audio = read_audio(path, sample_rate)
    tail = np.zeros(round((tail_seconds + _ONE_FRAME) * sample_rate), np.float32)
    stream = recognizer.create_stream()
    start = time.perf_counter()
    stream.accept_waveform(sample_rate, audio.samples)
    stream.accept_waveform(sample_rate, tail)
    stream.input_finished()
    while recognizer.is_ready(stream):
        recognizer.decode_stream(stream)
    seconds = time.perf_counter() - start
    text = recognizer.get_result(stream).strip()
    return {"text": text, "duration": audio.duration, "decode_seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
