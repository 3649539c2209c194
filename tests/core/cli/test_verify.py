"""``calve verify``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.cli.application import run


def test_it_prints_a_line_per_check(golden_bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    assert run(["verify", str(golden_bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["passed"] * 5


def test_a_damaged_bundle_exits_with_1_and_says_what_failed_in_json(
    bundle_dir: Path, capfd: pytest.CaptureFixture[str]
):
    (bundle_dir / "golden.npz").write_bytes(bytes((bundle_dir / "golden.npz").stat().st_size))
    assert run(["verify", str(bundle_dir), "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    assert report["passed"] is False
    failed = [check["name"] for check in report["checks"] if check["outcome"] == "failed"]
    assert failed == ["files", "features"]
    skipped = [check["name"] for check in report["checks"] if check["outcome"] == "skipped"]
    assert skipped == ["golden", "sherpa-ncnn"]


def test_what_is_not_a_bundle_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["verify", str(tmp_path)]) == 1
    assert "not a bundle" in capsys.readouterr().err
