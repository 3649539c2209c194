"""What calve does in the user's process leaves the process as it was."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import calve
from calve.bundles.bundle import Bundle
from calve.models.live import live_runtime
from calve.models.loading import load

RECIPE = "lstm_transducer_stateless2"

IMPORT_EVERYTHING = """
import importlib, json, logging, os, pkgutil, signal, sys, warnings

seen = []

def watched(owner, name):
    original = getattr(owner, name)
    def call(*args, **kwargs):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0].partition("_")[0] == "calve":
            seen.append(f"{caller} calls {name}")
        return original(*args, **kwargs)
    setattr(owner, name, call)

for owner, name in [
    (warnings, "filterwarnings"), (logging, "disable"), (logging, "basicConfig"),
    (logging, "captureWarnings"), (os, "putenv"), (signal, "signal"),
]:
    watched(owner, name)
import random, numpy, torch
for owner, name in [
    (torch, "set_num_threads"), (torch, "set_default_dtype"), (torch, "manual_seed"),
    (torch, "set_grad_enabled"), (random, "seed"), (numpy.random, "seed"),
]:
    watched(owner, name)

packages = ["calve", "calve_graphs", "calve_transducer", "calve_lstm_transducer",
            "calve_pruned_transducer", "calve_ncnn", "calve_onnx", "calve_torchscript",
            "calve_lhotse"]
count = 0
for package in map(importlib.import_module, packages):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(json.dumps({"seen": seen, "count": count, "handlers": len(logging.getLogger().handlers)}))
"""

PROJECTED_LSTM = """
import torch
from calve.models.loading import ModelBuilder

builder = ModelBuilder("lstm_transducer_stateless2")
config = builder.resolve({"encoder": builder.encoder.tiny, "model": builder.family.tiny})
torch.manual_seed(3)
encoder = builder.build(config).eval().encoder
encoder(torch.zeros(1, 30, encoder.feature_dim), torch.tensor([30]))
"""


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The user's own number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_importing_everything_changes_nothing_in_the_process():
    import json

    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["seen"] == []
    assert found["handlers"] == 0
    assert found["count"] > 250


def test_a_projected_lstm_warns_nobody_and_needs_no_filter():
    subprocess.run([sys.executable, "-W", "error", "-c", PROJECTED_LSTM], check=True)


@pytest.mark.parametrize("format_name", ["state-dict", "jit-trace"])
def test_export_and_transcription_leave_torch_its_threads(
    threads: int,
    format_name: str,
    golden_checkpoint: Path,
    golden_tokens: Path,
    shared_data: Path,
    tmp_path: Path,
):
    options = {"checkpoint": golden_checkpoint, "tokens": golden_tokens}
    bundle = calve.export(RECIPE, **options, output=tmp_path / "bundle", format=format_name)
    assert torch.get_num_threads() == threads
    recording = next((shared_data / "fsdd" / "recordings").glob("*.wav"))
    list(calve.transcribe(bundle, [recording], num_threads=2))
    assert torch.get_num_threads() == threads


def test_a_session_computes_on_its_own_threads(
    threads: int, golden_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    loaded = load(RECIPE, golden_checkpoint)
    session = live_runtime(loaded.model).open(loaded, num_threads=2)
    assert torch.get_num_threads() == threads
    seen = []
    stream = session.model.encoder.stream

    def watched(*arguments: object) -> object:
        seen.append(torch.get_num_threads())
        return stream(*arguments)

    monkeypatch.setattr(session.model.encoder, "stream", watched)
    segment = np.zeros((1, session.geometry.segment, session.feature_dim), np.float32)
    session.encode_chunk(segment, session.init_states())
    assert seen == [2]
    assert torch.get_num_threads() == threads


def test_an_int8_export_to_onnx_leaves_logging_alone(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path
):
    root = logging.getLogger()
    logging.disable(logging.DEBUG)
    try:
        before = root.handlers[:], root.filters[:], root.level
        bundle: Bundle = calve.export(
            RECIPE,
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "bundle",
            format="onnx",
            precision="int8",
        )
        assert "int8" in bundle.manifest.precision.values()
        assert (root.handlers, root.filters, root.level) == before
        assert logging.root.manager.disable == logging.DEBUG
    finally:
        logging.disable(logging.NOTSET)
