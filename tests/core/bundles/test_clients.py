"""Runtimes of other projects, in a child process that may end in any way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.clients import Client
from calve.errors import BundleError
from calve.protocols import ClientResult

RESULT = '{"text": "%s", "duration": 1.0, "decode_seconds": 0.1}'
FIRST, SECOND = RESULT % "one", RESULT % "two"
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.wav", tmp_path / "two.wav"]
    for path in paths:
        soundfile.write(path, np.zeros(16000), 16000)
    return paths


@pytest.fixture
def transcribe(tmp_path: Path, recordings: list[Path], monkeypatch: pytest.MonkeyPatch):
    """Transcribe two recordings with a child that writes a text and then does something."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(written: str, then: str = "") -> list[ClientResult]:
        (tmp_path / "acme_child.py").write_text(
            f"import os, signal, sys\nsys.stdout.write({written!r})\nsys.stdout.flush()\n{then}\n"
        )
        client = Client("acme", "json", "acme_child")
        return client.transcribe(tmp_path, {}, recordings, num_threads=1, tail_seconds=0.0)

    return run


def test_there_is_a_result_for_each_recording(transcribe, recordings: list[Path]):
    results = transcribe(f"{FIRST}\n{SECOND}\n")
    assert [(result.path, result.text) for result in results] == [
        (str(recordings[0]), "one"),
        (str(recordings[1]), "two"),
    ]


@pytest.mark.parametrize(
    ("written", "then", "said"),
    [
        (f"{FIRST}\n{SECOND[:20]}", CRASH, "crashed with SIGSEGV"),
        (f"{FIRST}\n{SECOND[:20]}", "sys.exit(3)", "exited with code 3"),
        (f"{FIRST}\n{SECOND[:20]}", "", "stopped early"),
        (f"{FIRST}\n", "", "stopped early"),
        ("", CRASH, "crashed with SIGSEGV"),
    ],
)
def test_a_child_that_ends_before_its_results_do_is_an_error(
    transcribe, written: str, then: str, said: str
):
    with pytest.raises(BundleError, match=f"acme .*{said}"):
        transcribe(written, then)
