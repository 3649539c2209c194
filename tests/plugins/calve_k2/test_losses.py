from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from invoking import invoke

from calve.api import PluginError
from calve.registry.discovery import load_driver
from calve_bench.commands import bench_loss
from calve_transducer.losses.backend import TorchLossBackend

CHILD = Path(__file__).with_name("loss_goldens_child.py")
FUNCTIONS = [
    *("rnnt_loss", "rnnt_loss_simple", "rnnt_loss_smoothed", "rnnt_loss_pruned"),
    *("get_rnnt_prune_ranges", "do_rnnt_pruning"),
]


def module_path() -> Path:
    spec = importlib.util.find_spec("calve_k2.losses")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def test_losses_and_gradients_equal_the_goldens(k2_python: Path, goldens: Path) -> None:
    command = [str(k2_python), str(CHILD), str(module_path()), str(goldens / "rnnt_loss.pt")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    cases = torch.load(goldens / "rnnt_loss.pt", weights_only=True)["cases"]
    assert finished.stdout.split() == [case["name"] for case in cases]


def test_calves_own_losses_take_the_arguments_of_k2(k2_python: Path) -> None:
    program = (
        "import inspect, json, k2; "
        f"print(json.dumps({{n: list(inspect.signature(getattr(k2, n)).parameters) "
        f"for n in {FUNCTIONS!r}}}))"
    )
    finished = subprocess.run([str(k2_python), "-c", program], capture_output=True, text=True)
    for name, parameters in json.loads(finished.stdout).items():
        assert list(inspect.signature(getattr(TorchLossBackend, name)).parameters) == parameters, (
            name
        )


@pytest.mark.slow
def test_the_benchmark_pairs_both_backends(k2_python: Path) -> None:
    arguments = ["--against", "k2", "--python", str(k2_python), "--runs", "1", "--json"]
    result = invoke(bench_loss, [*arguments, "--vocab-size", "20"])
    assert result.exit_code == 0, result.output
    ours, theirs = json.loads(result.stdout)["rows"]
    assert (ours["backend"], theirs["backend"]) == ("torch", "k2")
    assert ours["ratio"] == pytest.approx(ours["seconds"] / theirs["seconds"])
    assert 0 < ours["peak_mb"] < theirs["peak_mb"]


def test_without_k2_the_driver_says_what_is_missing() -> None:
    if importlib.util.find_spec("k2") is not None:
        pytest.skip("k2 is installed here")
    with pytest.raises(PluginError, match="No module named 'k2'") as raised:
        load_driver("calve.loss_backends", "k2")
    assert "install k2" in str(raised.value.fix)


def test_the_driver_offers_what_k2_has(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: dict[str, Any] = {name: object() for name in FUNCTIONS}
    monkeypatch.setitem(sys.modules, "k2", SimpleNamespace(**fake))
    monkeypatch.delitem(sys.modules, "calve_k2.losses", raising=False)
    backend = load_driver("calve.loss_backends", "k2")
    assert {name: getattr(backend, name) for name in FUNCTIONS} == fake
    monkeypatch.delitem(sys.modules, "calve_k2.losses")
