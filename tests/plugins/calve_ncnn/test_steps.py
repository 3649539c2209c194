from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, ExportError, StreamingGeometry
from calve.bundles.bundle import Bundle
from calve.common.children import Child, run_children
from calve.exporting.export import export
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.metadata import ncnn_table
from calve_ncnn import steps
from calve_ncnn.layout import NETWORKS, bin_path, param_path
from calve_ncnn.lint import lint
from calve_ncnn.runtime import NcnnRuntime
from calve_ncnn.weights import TAGS

RECIPE = "lstm_transducer_stateless2"


def test_the_bundle_has_icefalls_names_and_all_that_calve_adds(golden_bundle: Bundle) -> None:
    names = {path.name for path in golden_bundle.path.iterdir()}
    networks = {
        f"{network}_jit_trace-pnnx.ncnn.{suffix}"
        for network in ("encoder", "decoder", "joiner")
        for suffix in ("param", "bin")
    }
    assert names == networks | {"tokens.txt", "bundle.json", "golden.npz"}
    assert lint(golden_bundle.path) == []


def test_the_manifest_says_what_was_done(golden_bundle: Bundle) -> None:
    manifest = golden_bundle.manifest
    assert manifest.precision == dict.fromkeys(NETWORKS, "fp32")
    assert {"pnnx", "ncnn"} <= manifest.tools.keys()
    assert manifest.metadata == {
        "arch": 3,
        "num_encoder_layers": 3,
        "encoder_dim": 32,
        "rnn_hidden_size": 48,
    }
    assert manifest.steps["states"] == {"hidden": [3, 32], "cell": [3, 48]}


def test_fp16_is_the_default_and_halves_the_files(
    golden_bundle: Bundle, golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path
) -> None:
    half = export(
        RECIPE, checkpoint=golden_checkpoint, tokens=golden_tokens, output=tmp_path / "half"
    )
    assert half.manifest.precision["encoder"] == "fp16"
    for network in NETWORKS:
        small = bin_path(half.path, network).stat().st_size
        large = bin_path(golden_bundle.path, network).stat().st_size
        assert small < 0.6 * large, network
    tag = int.from_bytes(bin_path(half.path, "joiner").read_bytes()[:4], "little")
    assert TAGS[tag] == "float16"


def test_an_encoder_that_sherpa_ncnn_would_feed_otherwise_is_refused_before_it_is_converted(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_table(config: LstmEncoderConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
        return {**ncnn_table(config, geometry), "rnn_hidden_size": config.rnn_hidden_size + 1}

    monkeypatch.setattr("calve_lstm_transducer.metadata.ncnn_table", wrong_table)
    expected = (
        r"as its LSTM, and cannot: it feeds \(3, 49\) for the state 'cell', which is \(3, 48\)"
    )
    with pytest.raises(ExportError, match=f"step 'trace'.*{expected}"):
        export(
            RECIPE, checkpoint=golden_checkpoint, tokens=golden_tokens, output=tmp_path / "bundle"
        )
    assert not (tmp_path / "bundle").exists()


def test_a_failing_pnnx_leaves_nothing_behind(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "pnnx"
    binary.write_text("#!/bin/sh\nkill -SEGV $$\n")
    binary.chmod(0o755)
    monkeypatch.setattr("calve_ncnn.pnnx.find_pnnx", lambda: binary)
    with pytest.raises(ExportError, match="SIGSEGV"):
        export(
            RECIPE,
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "out" / "bundle",
        )
    assert not (tmp_path / "out").exists()


def test_networks_that_ncnn_cannot_run_are_an_error_not_a_hang(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ncnn may hang at its first run, so a child does it under a time limit."""
    monkeypatch.setattr(steps, "_LOAD_TIME_LIMIT", 0.01)
    with pytest.raises(ExportError, match=r"could not run the converted networks[\s\S]*0\.01 s"):
        export(
            RECIPE,
            checkpoint=golden_checkpoint,
            tokens=golden_tokens,
            output=tmp_path / "bundle",
        )


def test_the_loading_child_refuses_networks_that_give_nan(bundle_dir: Path, tmp_path: Path) -> None:
    path = bin_path(bundle_dir, "joiner")
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    path.write_bytes(data)
    task = {
        "folder": str(bundle_dir),
        "networks": {
            "joiner": {"runs": [[[[32], "float32"], [[32], "float32"]]], "outputs": ["out0"]}
        },
    }
    command = [sys.executable, "-m", "calve_ncnn.load_child"]
    child = Child("load", command, tmp_path, 60.0, input=json.dumps(task))
    (outcome,) = run_children([child])
    assert outcome.returncode == 1
    assert "the joiner gives NaN" in outcome.log


def test_a_manifest_without_states_is_an_error(golden_bundle: Bundle, tmp_path: Path) -> None:
    manifest = replace(golden_bundle.manifest, steps={})
    with pytest.raises(BundleError, match="does not say what states"):
        NcnnRuntime.open(Bundle(golden_bundle.path, manifest))


def test_the_param_names_every_blob_of_sherpa_ncnn(golden_bundle: Bundle) -> None:
    text = param_path(golden_bundle.path, "encoder").read_text()
    for blob in ("in0", "in1", "in2", "in3", "out0", "out1", "out2", "out3"):
        assert f" {blob}" in text
