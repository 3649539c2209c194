"""``calve bench``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.cli.application import run


def test_it_prints_a_row_per_contender(golden_bundle: Bundle, capfd: pytest.CaptureFixture[str]):
    arguments = ["--against", "sherpa-ncnn", "--chunk-ms", "40", "--runs", "1"]
    assert run(["bench", str(golden_bundle.path), *arguments]) == 0
    header, _, *rows = capfd.readouterr().out.splitlines()
    assert "time / sherpa-ncnn" in header
    assert [row.split()[0] for row in rows] == ["calve", "sherpa-ncnn"]


def test_json_is_complete(golden_bundle: Bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    arguments = [str(tmp_path / "a.wav"), "--runs", "2", "--num-threads", "1", "--json"]
    assert run(["bench", str(golden_bundle.path), *arguments]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["runs"], report["num_threads"]) == (2, 1)
    assert [row["chunk_ms"] for row in report["rows"]] == [40, 640]


def test_a_missing_recording_is_an_error(golden_bundle: Bundle, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", str(golden_bundle.path), "nowhere.wav"]) == 1
    assert "nowhere.wav" in capsys.readouterr().err


def test_a_bundle_for_whole_utterances_has_no_chunks_to_measure(
    golden_bundle: Bundle, offline_bundle: Bundle, capsys: pytest.CaptureFixture[str]
):
    against = ("--against", "calve", "--client-bundle", str(offline_bundle.path))
    for arguments in ((str(offline_bundle.path),), (str(golden_bundle.path), *against)):
        assert run(["bench", *arguments]) == 1
        error = capsys.readouterr().err
        assert "the bundle is for whole utterances and cannot stream" in error
        assert str(offline_bundle.path) in error
