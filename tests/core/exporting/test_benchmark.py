"""The measurements of a bundle are complete and honest; their values are not tested."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.errors import AudioError, BundleError, ConfigError, PluginError
from calve.exporting.benchmark import benchmark
from calve.exporting.benchmark_child import BundleTask, measure_own


def test_both_chunk_lengths_and_the_client_are_measured(golden_bundle: Bundle):
    rows = benchmark(golden_bundle.path, against="sherpa-ncnn", runs=1)
    assert [(row.runtime, row.chunk_ms) for row in rows] == [
        ("calve", 40),
        ("calve", 640),
        ("sherpa-ncnn", None),
    ]
    for row in rows:
        assert row.rtf > 0
        assert row.load_seconds > 0
        assert 10 < row.peak_mb < 1000
    assert rows[-1].ratio == 1.0
    for row in rows[:2]:
        assert row.step_p50_ms is not None
        assert row.step_p95_ms is not None
        assert 0 < row.step_p50_ms <= row.step_p95_ms
        assert row.ratio == pytest.approx(row.rtf / rows[-1].rtf)


def test_without_a_client_there_is_no_ratio(golden_bundle: Bundle):
    (row,) = benchmark(golden_bundle.path, chunk_ms=[120], runs=1)
    assert (row.chunk_ms, row.ratio) == (120, None)


def test_every_chunk_of_the_recording_is_timed(golden_bundle: Bundle, tmp_path: Path):

    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    task = BundleTask(str(golden_bundle.path), (str(tmp_path / "a.wav"),), "calve", 40, 1)
    measured = measure_own(task)
    assert len(measured.step_ms) == 25
    assert measured.duration == 1.0
    assert sum(measured.step_ms) / 1000 <= measured.decode_seconds


def test_a_client_that_the_format_does_not_have_is_named(golden_bundle: Bundle):
    with pytest.raises(PluginError, match="sherpa-ncn"):
        benchmark(golden_bundle.path, against="sherpa-ncn")


def test_a_client_that_is_not_installed_is_named(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"pip install 'calve\[sherpa-ncnn\]'"):
        benchmark(golden_bundle.path, against="sherpa-ncnn")


def test_an_unreadable_recording_is_known_before_anything_is_measured(golden_bundle: Bundle):
    with pytest.raises(AudioError, match=r"nowhere\.wav"):
        benchmark(golden_bundle.path, [Path("nowhere.wav")])


def test_an_impossible_chunk_is_refused(golden_bundle: Bundle):
    with pytest.raises(ConfigError, match="multiple of 40 ms"):
        benchmark(golden_bundle.path, chunk_ms=[50])


def test_a_child_that_fails_is_a_message_with_its_log(bundle_dir: Path):
    path = bundle_dir / "encoder_jit_trace-pnnx.ncnn.param"
    path.write_text("x" * path.stat().st_size)
    with pytest.raises(BundleError, match=r"encoder_jit_trace-pnnx\.ncnn\.param"):
        benchmark(bundle_dir, chunk_ms=[40], runs=1)


def test_what_native_code_prints_does_not_disturb_the_measurement(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    code = (
        "import os; from calve.exporting.benchmark_child import main; "
        "os.write(1, b'loading'); main()"
    )
    monkeypatch.setattr("calve.exporting.benchmark._CHILD", (sys.executable, "-c", code))
    (row,) = benchmark(golden_bundle.path, chunk_ms=[40], runs=1)
    assert row.rtf > 0


def test_a_child_that_hangs_is_stopped(golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    monkeypatch.setattr("calve.exporting.benchmark._CHILD", command)
    monkeypatch.setattr("calve.exporting.benchmark._BASE_TIME_LIMIT", 0.5)
    monkeypatch.setattr("calve.exporting.benchmark._MAX_RTF", 0.0)
    with pytest.raises(BundleError, match=r"calve did not finish within 0\.5 s"):
        benchmark(golden_bundle.path, chunk_ms=[40], runs=1)


def test_relative_paths_are_understood(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    monkeypatch.chdir(tmp_path)
    relative = os.path.relpath(golden_bundle.path)
    (row,) = benchmark(relative, [Path("a.wav")], chunk_ms=[40], runs=1)
    assert row.bundle == relative


def test_the_client_can_run_another_bundle(golden_bundle: Bundle, bundle_dir: Path):
    path = bundle_dir / "encoder_jit_trace-pnnx.ncnn.param"
    path.write_text("x" * path.stat().st_size)
    with pytest.raises(BundleError, match="sherpa-ncnn") as caught:
        benchmark(
            golden_bundle.path,
            chunk_ms=[40],
            against="sherpa-ncnn",
            client_bundle=bundle_dir,
            runs=1,
        )
    assert caught.value.where == str(bundle_dir)


def test_calve_can_be_compared_with_itself_on_another_bundle(
    golden_bundle: Bundle, bundle_dir: Path
):
    ours, theirs = benchmark(
        golden_bundle.path, chunk_ms=[40], against="calve", client_bundle=bundle_dir, runs=1
    )
    assert [row.runtime for row in (ours, theirs)] == ["calve", "calve"]
    assert [row.bundle for row in (ours, theirs)] == [str(golden_bundle.path), str(bundle_dir)]
    assert theirs.ratio == 1.0
    assert theirs.chunk_ms == 40
    assert ours.ratio == pytest.approx(ours.rtf / theirs.rtf)
