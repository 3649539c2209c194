"""What ``calve verify`` finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_bundles import accept_changes

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.data.features import FeatureConfig
from calve.errors import BundleError
from calve.exporting.verification import Check, verify


def outcomes(path: Path) -> dict[str, Check]:
    return {check.name: check for check in verify(path)}


def test_a_good_bundle_passes_everything_the_real_client_too(golden_bundle: Bundle):
    checks = outcomes(golden_bundle.path)
    assert list(checks) == ["files", "lint", "features", "golden", "sherpa-ncnn"]
    assert {check.outcome for check in checks.values()} == {"passed"}
    chunks = re.search(r"over (\d+) chained chunks", checks["golden"].detail)
    assert chunks is not None
    assert int(chunks[1]) >= 20


def test_neither_torch_nor_a_recipe_is_imported(
    golden_bundle: Bundle, run_python: Callable[..., Any]
):
    script = (
        "import sys; from calve.cli.application import run; code = run(['verify', sys.argv[1]]);"
        "heavy = {'torch', 'pnnx', 'lhotse', 'calve_transducer.model.transducer'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    finished = run_python("-c", script, str(golden_bundle.path))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("passed") == 5


def test_a_flipped_weight_fails_by_its_hash_and_by_its_numbers(bundle_dir: Path):
    path = bundle_dir / "joiner_jit_trace-pnnx.ncnn.bin"
    content = bytearray(path.read_bytes())
    content[203] ^= 0x40
    path.write_bytes(content)
    checks = outcomes(bundle_dir)
    assert checks["files"].outcome == "failed"
    assert path.name in checks["files"].detail
    # A network that is not the one that was exported does not run,
    assert {checks[name].outcome for name in ("golden", "sherpa-ncnn")} == {"skipped"}
    assert "files have changed" in checks["golden"].detail
    # unless the manifest says that it is.
    accept_changes(bundle_dir)
    checks = outcomes(bundle_dir)
    assert checks["files"].outcome == "passed"
    assert checks["golden"].outcome == "failed"
    assert "logits" in checks["golden"].detail


def test_a_lint_error_is_a_failed_check(bundle_dir: Path):
    path = bundle_dir / "encoder_jit_trace-pnnx.ncnn.param"
    path.write_text(path.read_text().replace("out2", "outX"))
    accept_changes(bundle_dir)
    checks = outcomes(bundle_dir)
    assert checks["files"].outcome == "passed"
    assert checks["lint"].outcome == "failed"
    assert "out2" in checks["lint"].detail


def test_a_golden_file_that_was_altered_is_found(bundle_dir: Path):
    with np.load(bundle_dir / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["features"] = arrays["features"] + 0.1
    np.savez(bundle_dir / "golden.npz", **arrays)
    accept_changes(bundle_dir)
    checks = outcomes(bundle_dir)
    assert checks["features"].outcome == "failed"
    assert checks["golden"].outcome == "failed"


def test_other_tokens_than_at_export_are_found(bundle_dir: Path):
    with np.load(bundle_dir / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["tokens"] = arrays["tokens"][:-1]
    np.savez(bundle_dir / "golden.npz", **arrays)
    accept_changes(bundle_dir)
    assert "symbols" in outcomes(bundle_dir)["golden"].detail


def test_a_missing_client_is_skipped_with_the_way_to_install_it(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check = outcomes(golden_bundle.path)["sherpa-ncnn"]
    assert check.outcome == "skipped"
    assert "pip install 'calve[sherpa-ncnn]'" in check.detail


def test_a_client_that_fails_is_a_failed_check(bundle_dir: Path):
    tokens = bundle_dir / "tokens.txt"
    tokens.write_text("".join(tokens.read_text().splitlines(keepends=True)[:5]))
    accept_changes(bundle_dir)
    check = outcomes(bundle_dir)["sherpa-ncnn"]
    assert check.outcome == "failed"


def test_whatever_else_goes_wrong_is_a_failed_check(
    bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = json.loads((bundle_dir / "bundle.json").read_text())
    manifest["parity"] = {}
    (bundle_dir / "bundle.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("calve_ncnn.lint.lint", lambda *arguments: 1 / 0)
    checks = outcomes(bundle_dir)
    assert checks["golden"].outcome == "failed"
    assert "'precision'" in checks["golden"].detail
    assert checks["lint"] == Check("lint", "failed", "ZeroDivisionError: division by zero")


def test_what_is_not_a_bundle_is_an_error(tmp_path: Path):
    with pytest.raises(BundleError, match="not a bundle"):
        outcomes(tmp_path)


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("format_name", ["ncnn", "onnx"])
def test_clients_hear_what_calve_hears_with_a_model_for_8_khz(
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    format_name: str,
    capsys: pytest.CaptureFixture[str],
):
    arguments = [
        *("export", "lstm_transducer_stateless2", "--checkpoint", golden_checkpoint),
        *("--tokens", golden_tokens, "--format", format_name, "--output", tmp_path / "bundle"),
        *("--sample-rate", "8000"),
    ]
    assert run([*map(str, arguments)]) == 0
    assert "audio: 8000 Hz, 80 mel bins a frame" in capsys.readouterr().out
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.features == FeatureConfig(sample_rate=8000)
    checks = outcomes(bundle.path)
    assert {check.outcome for check in checks.values()} == {"passed"}
    assert "hears the same" in checks[f"sherpa-{format_name}"].detail
