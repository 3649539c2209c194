from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from changed_bundles import accept_changes

from calve.bundles.bundle import Bundle
from calve.exporting.verification import verify
from calve_onnx.layout import find_network

_VERIFY = """
import sys
from calve.cli.application import run
code = run(["verify", sys.argv[1]])
heavy = {"torch", "onnx", "lhotse", "calve_transducer.model.transducer"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_good_bundle_passes_with_the_runtime_alone(
    onnx_bundle: Callable[[str], Bundle], precision: str
) -> None:
    command = [sys.executable, "-c", _VERIFY, str(onnx_bundle(precision).path)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count("passed") == 5


def test_changed_weights_fail_by_their_hash_and_by_their_numbers(broken_dir: Path) -> None:
    path = find_network(broken_dir, "joiner")
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    halved = onnx.numpy_helper.to_array(weight) / 2
    weight.CopyFrom(onnx.numpy_helper.from_array(halved, weight.name))
    onnx.save(model, path)
    checks = {check.name: check for check in verify(broken_dir)}
    assert (checks["files"].outcome, checks["golden"].outcome) == ("failed", "skipped")
    accept_changes(broken_dir)
    checks = {check.name: check for check in verify(broken_dir)}
    assert (checks["files"].outcome, checks["golden"].outcome) == ("passed", "failed")
    assert "logits" in checks["golden"].detail
