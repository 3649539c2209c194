"""``calve transcribe`` needs the same memory however long a recording is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.exporting.export import export

RATE = 22050
WORDS_PER_MINUTE = 150

# The peak is that of the command alone: this process waits for one child.
_MEASURE = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, "-m", "calve", "transcribe", *sys.argv[1:]], check=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
"""


def write_noise(path: Path, minutes: float) -> None:
    """Noise in a file of another sampling rate and two channels."""
    drawn = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        for _ in range(round(60 * minutes)):
            file.write(drawn.normal(scale=0.05, size=(RATE, 2)))


def peak_megabytes(folder: Path, minutes: float, *model: str | os.PathLike[str]) -> float:
    """Peak resident memory of the command on a recording with a reference."""
    recording, reference = folder / f"{minutes:g}.flac", folder / f"{minutes:g}.txt"
    write_noise(recording, minutes)
    words = np.random.default_rng(0).integers(0, 10, size=round(minutes * WORDS_PER_MINUTE))
    reference.write_text(f"{recording.name}\t{' '.join(map(str, words))}\n")
    child = subprocess.run(
        [sys.executable, "-c", _MEASURE, *model, "--reference", reference, recording],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    return float(json.loads(child.stdout.splitlines()[-1]))


def test_ten_minutes_need_no_more_memory_than_one(golden_bundle: Bundle, tmp_path: Path):
    short = peak_megabytes(tmp_path, 1, golden_bundle.path)
    long = peak_megabytes(tmp_path, 10, golden_bundle.path)
    # The samples alone are 3.8 MB a minute, those of two channels as they are stored 10.6 MB.
    assert long - short < 16


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runtime", ["torch", "ncnn", "onnx", "jit-script"])
def test_an_hour_needs_hardly_more_memory_than_five_minutes(runtime: str, tmp_path: Path):
    """At most 100 MB, so of these 40 minutes no more than 64 MB."""
    model: list[str | os.PathLike[str]] = [tmp_path / "bundle"]
    if runtime == "torch":
        model = ["--checkpoint", "builtin:digits-lstm", "--chunk-ms", "640"]
    else:
        export(
            "lstm_transducer_stateless2",
            checkpoint="builtin:digits-lstm",
            output=tmp_path / "bundle",
            format=runtime,
        )
    short, long = (peak_megabytes(tmp_path, minutes, *model) for minutes in (5, 40))
    assert long - short < 100 * (40 - 5) / (60 - 5)
