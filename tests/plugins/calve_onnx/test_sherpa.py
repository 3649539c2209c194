from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.api import AudioError, BundleError, PluginError
from calve_onnx.layout import find_network
from calve_onnx.metadata import store
from calve_onnx.sherpa import SHERPA_ONNX, transcribe


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(path, samples, 16000)
    return path


def test_results_come_in_order_with_times(broken_dir: Path, noise: Path) -> None:
    results = transcribe(broken_dir, [noise, noise], tail_seconds=0.4)
    assert [result.path for result in results] == [str(noise), str(noise)]
    assert results[0].text == results[1].text
    for result in results:
        assert result.duration == 1.0
        assert result.decode_seconds > 0
        assert result.load_seconds > 0


def test_a_bundle_without_metadata_ends_the_child_and_not_us(broken_dir: Path, noise: Path) -> None:
    store.write(broken_dir, {})
    with pytest.raises(
        BundleError, match=f"sherpa-onnx {SHERPA_ONNX.installed_version()}"
    ) as caught:
        transcribe(broken_dir, [noise])
    assert "calve lint --runtime sherpa-onnx" in (caught.value.fix or "")


def test_a_missing_network_is_named_before_anything_runs(broken_dir: Path, noise: Path) -> None:
    find_network(broken_dir, "joiner").unlink()
    with pytest.raises(BundleError, match=r"joiner\*\.onnx is missing"):
        transcribe(broken_dir, [noise])


def test_unreadable_audio_is_named_before_anything_runs(broken_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        transcribe(broken_dir, [tmp_path / "absent.wav"])
    assert caught.value.where == str(tmp_path / "absent.wav")


def test_without_sherpa_onnx_the_error_says_how_to_install_it(
    broken_dir: Path, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match="not installed") as caught:
        transcribe(broken_dir, [noise])
    assert caught.value.fix == "pip install 'calve[sherpa-onnx]'"
