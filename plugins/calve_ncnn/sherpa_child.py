"""Child process that runs sherpa-ncnn; the task contains ``bundle``, a directory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calve.bundles.bundle import TOKENS_FILE
from calve.bundles.client_child import run_client
from calve.data.audio import read_audio
from calve_ncnn.layout import NETWORKS, bin_path, param_path

__all__ = ["main"]


def main() -> int:
    """Do what stdin says; the exit code."""
    import sherpa_ncnn

    def load(task: Mapping[str, Any]) -> Any:
        bundle = Path(task["bundle"])
        files = {}
        for network in NETWORKS:
            files[f"{network}_param"] = str(param_path(bundle, network))
            files[f"{network}_bin"] = str(bin_path(bundle, network))
        return sherpa_ncnn.Recognizer(
            tokens=str(bundle / TOKENS_FILE),
            num_threads=task["num_threads"],
            decoding_method="greedy_search",
            model_sample_rate=task["sample_rate"],
            **files,
        )

    return run_client(load, _transcribe)


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
