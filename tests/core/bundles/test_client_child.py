from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.clients import Client

CHILD = """
import os
from calve.bundles.client_child import run_client

def load(task):
    os.write(1, b"the client greets the world\\n")
    return task["word"]

def transcribe(word, path, tail_seconds):
    print("and talks")
    return {"text": f"{word} {tail_seconds}", "duration": 1.0, "decode_seconds": 0.5}

if __name__ == "__main__":
    raise SystemExit(run_client(load, transcribe))
"""


def test_only_results_come_from_a_client_that_writes_to_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talkative_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    client = Client("acme", "json", "talkative_child")
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        soundfile.write(path, np.zeros(1600), 16000)
    options = {"num_threads": 1, "tail_seconds": 0.5}
    found = client.transcribe(tmp_path, {"word": "yes"}, paths, **options)
    assert [(one.path, one.text) for one in found] == [(str(path), "yes 0.5") for path in paths]
    assert found[0].load_seconds == found[1].load_seconds > 0
