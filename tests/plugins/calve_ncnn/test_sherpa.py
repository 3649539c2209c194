from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.api import AudioError, BundleError, PluginError
from calve.bundles.bundle import Bundle
from calve_ncnn.layout import param_path
from calve_ncnn.sherpa import SHERPA_NCNN, transcribe


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, 16000)
    soundfile.write(path, samples, 16000)
    return path


def test_results_come_in_order_with_times(golden_bundle: Bundle, noise: Path) -> None:
    results = transcribe(golden_bundle.path, [noise, noise], tail_seconds=0.4)
    assert [result.path for result in results] == [str(noise), str(noise)]
    assert results[0].text == results[1].text
    for result in results:
        assert result.duration == 1.0
        assert result.decode_seconds > 0
        assert result.load_seconds > 0


def test_a_bundle_without_metadata_crashes_the_child_and_not_us(
    bundle_dir: Path, noise: Path
) -> None:
    path = param_path(bundle_dir, "encoder")
    text = re.sub(r"^SherpaMetaData.*\n", "", path.read_text(), flags=re.M)
    path.write_text(text.replace("87 116", "86 116", 1))
    with pytest.raises(
        BundleError, match=f"sherpa-ncnn {SHERPA_NCNN.installed_version()} crashed"
    ) as caught:
        transcribe(bundle_dir, [noise])
    assert "calve lint --runtime sherpa-ncnn" in (caught.value.fix or "")


def test_a_missing_file_is_a_readable_error(bundle_dir: Path, noise: Path) -> None:
    param_path(bundle_dir, "joiner").unlink()
    with pytest.raises(BundleError, match=r"exited with code 1[\s\S]*does not exist"):
        transcribe(bundle_dir, [noise])


def test_unreadable_audio_is_named_before_anything_runs(
    golden_bundle: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(AudioError) as caught:
        transcribe(golden_bundle.path, [tmp_path / "absent.wav"])
    assert caught.value.where == str(tmp_path / "absent.wav")


def test_without_sherpa_ncnn_the_error_says_how_to_install_it(
    golden_bundle: Bundle, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match="not installed") as caught:
        transcribe(golden_bundle.path, [noise])
    assert caught.value.fix == "pip install 'calve[sherpa-ncnn]'"
