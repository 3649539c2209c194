"""Training in several processes, started by torchrun, talking over the loopback device."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import hum_training
import pytest
from hum_training import BATCHES_PER_EPOCH, metrics_file, read_metrics

from calve.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.slow

AT_ONE_MACHINE = ("--standalone",)


def start(exp_dir: Path, processes: int, *torchrun: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run"),
            *(*torchrun, "--nproc-per-node", str(processes)),
            *(hum_training.__file__, str(exp_dir), json.dumps(options)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )


def end(*started: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Exit codes and what was said."""
    said = [agent.communicate(timeout=240)[1] for agent in started]
    return [(agent.returncode, text) for agent, text in zip(started, said, strict=True)]


def curve(exp_dir: Path) -> list[float]:
    return [number for _, metrics in read_metrics(exp_dir) for number in metrics.values()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The curve of one process that has all utterances of a batch."""
    exp_dir = tmp_path_factory.mktemp("alone") / "exp"
    program = [sys.executable, hum_training.__file__, str(exp_dir)]
    subprocess.run([*program, json.dumps({"independent": True, "num_epochs": 2})], check=True)
    return curve(exp_dir)


def test_four_processes_have_the_curve_of_one(alone: list[float], tmp_path: Path) -> None:
    options = {"independent": True, "num_epochs": 2, "world_size": 4}
    ((code, said),) = end(start(tmp_path / "exp", 4, *AT_ONE_MACHINE, **options))
    assert code == 0, said
    assert curve(tmp_path / "exp") == pytest.approx(alone, rel=1e-5)


def test_two_machines_have_the_curve_of_one_process(alone: list[float], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint)
    options = {"independent": True, "num_epochs": 2, "world_size": 2}
    agents = [start(tmp_path / "exp", 1, *meeting, **options) for _ in range(2)]
    for code, said in end(*agents):
        assert code == 0, said
    assert curve(tmp_path / "exp") == pytest.approx(alone, rel=1e-5)


def test_a_batch_that_one_process_cannot_use_is_skipped_by_all(tmp_path: Path) -> None:
    options = {"nan_in": [3], "world_size": 2}
    ((code, said),) = end(start(tmp_path / "exp", 2, *AT_ONE_MACHINE, **options))
    assert code == 0, said
    (kept,) = (tmp_path / "exp" / "bad-batches").iterdir()
    assert kept.name == "batch-4-1.pt"
    checkpoint = read_checkpoint(tmp_path / "exp" / "epoch-1.pt")
    assert checkpoint["skipped_batches"] == 1
    assert all(math.isfinite(number) for number in curve(tmp_path / "exp"))
    assert len(read_metrics(tmp_path / "exp")) == BATCHES_PER_EPOCH + 1


def test_processes_without_a_usable_batch_keep_in_step_with_the_others(tmp_path: Path) -> None:
    # The second batch is the one before which gradient buckets are rebuilt.
    options = {"too_short_in": [1, 4], "missing_batches": 2, "world_size": 2, "num_epochs": 2}
    ((code, said),) = end(start(tmp_path / "exp", 2, *AT_ONE_MACHINE, **options))
    assert code == 0, said
    checkpoint = read_checkpoint(tmp_path / "exp" / "epoch-2.pt")
    assert checkpoint["batch_idx_train"] == 2 * (BATCHES_PER_EPOCH - 2)
    assert checkpoint["skipped_batches"] == 4
    assert checkpoint["dropped_utterances"] == 8
    assert all(math.isfinite(number) for number in curve(tmp_path / "exp"))


def test_a_process_that_is_killed_ends_the_others_and_all_continue_exactly(
    alone: list[float], tmp_path: Path
) -> None:
    options = {"independent": True, "num_epochs": 2, "world_size": 2, "save_every_n": 3}
    exp_dir = tmp_path / "exp"
    ((code, said),) = end(start(exp_dir, 2, *AT_ONE_MACHINE, kill_after=5, **options))
    assert code != 0
    assert "another process of this training run has ended" in said
    assert [path.name for path in exp_dir.glob("*.pt")] == ["checkpoint-3.pt"]
    metrics_file(exp_dir).unlink()
    ((code, said),) = end(start(exp_dir, 2, *AT_ONE_MACHINE, resume=True, **options))
    assert code == 0, said
    continued = curve(exp_dir)
    assert continued == pytest.approx(alone[-len(continued) :], rel=1e-5)
    assert len(read_metrics(exp_dir)) == 2 * (BATCHES_PER_EPOCH + 1) - 3


def test_torchrun_starts_them_anew_and_they_continue(
    alone: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    options = {"independent": True, "num_epochs": 2, "world_size": 2, "save_every_n": 3}
    exp_dir = tmp_path / "exp"
    restarting = ("--standalone", "--max-restarts", "1")
    ((code, said),) = end(start(exp_dir, 2, *restarting, resume=True, kill_after=5, **options))
    assert code == 0, said
    latest = {(step, *metrics): metrics for step, metrics in read_metrics(exp_dir)}
    assert len(read_metrics(exp_dir)) > len(latest)
    found = [number for metrics in latest.values() for number in metrics.values()]
    assert found == pytest.approx(alone, rel=1e-5)
