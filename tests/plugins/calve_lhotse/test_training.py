"""``calve train`` on a prepared corpus, in processes of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calve.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow

SMALL = (
    *("--num-encoder-layers", "1", "--encoder-dim", "16", "--rnn-hidden-size", "24"),
    *("--dim-feedforward", "24", "--decoder-dim", "16", "--joiner-dim", "16"),
    *("--max-duration", "10", "--num-workers", "0", "--log-interval", "1", "--save-every-n", "2"),
)


def train(
    data_dir: Path, exp_dir: Path, *options: str, corpus: str = "fsdd"
) -> subprocess.Popen[str]:
    command = ["train", "lstm_transducer_stateless2", "--corpus", corpus]
    folders = ["--data-dir", str(data_dir), "--exp-dir", str(exp_dir)]
    return subprocess.Popen(
        [sys.executable, "-m", "calve", *command, *folders, *SMALL, *options],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.05)


def test_two_processes_are_interrupted_and_continued(prepared: Path, tmp_path: Path) -> None:
    exp_dir = tmp_path / "exp"
    options = ("--world-size", "2", "--num-epochs", "2")
    interrupted = train(prepared, exp_dir, *options)
    wait_for(exp_dir / "checkpoint-2.pt")
    interrupted.send_signal(signal.SIGINT)
    said = interrupted.communicate(timeout=120)[1]
    assert interrupted.returncode == 130, said
    assert "Traceback" not in said
    newest = max(exp_dir.glob("checkpoint-*.pt"), key=lambda path: path.stat().st_mtime_ns)
    assert f"continue with --start-{newest.stem.replace('checkpoint-', 'batch ')}" in said

    continued = train(prepared, exp_dir, *options, "--resume", "1")
    said = continued.communicate(timeout=240)[1]
    assert continued.returncode == 0, said
    assert "epoch 2: done" in said
    assert read_checkpoint(exp_dir / "epoch-2.pt")["world_size"] == 2
    logs = [path.name.rpartition("-")[2] for path in (exp_dir / "log").iterdir()]
    assert sorted(logs) == ["0.txt", "0.txt", "1.txt", "1.txt"]
