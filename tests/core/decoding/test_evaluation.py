from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.data.recordings import Recording
from calve.decoding.evaluation import evaluate
from calve.decoding.online_recognizer import OnlineRecognizer
from calve.decoding.recognizers import transcribe
from calve.decoding.transcript import Transcript
from calve.errors import BundleError, DataError


@pytest.fixture
def recordings(tmp_path: Path) -> list[Recording]:
    rng = np.random.default_rng(0)
    for name, scale in (("a.wav", 0.1), ("b.wav", 0.2), ("silent.wav", 0.0)):
        soundfile.write(tmp_path / name, rng.normal(scale=scale, size=16000), 16000)
    names = ("a.wav", "silent.wav", "missing.wav", "b.wav")
    return [Recording(tmp_path / name) for name in names]


@pytest.mark.parametrize("jobs", [1, 2])
def test_texts_are_those_of_transcribing(
    golden_bundle: Bundle, recordings: list[Recording], tmp_path: Path, jobs: int
) -> None:
    found = evaluate(golden_bundle.path, recordings, jobs=jobs)
    usable = [tmp_path / "a.wav", tmp_path / "b.wav"]
    expected = list(transcribe(golden_bundle, usable))
    assert found.texts == {Path(one.path): one.text for one in expected}
    assert found.tokens == {Path(one.path): " ".join(one.tokens) for one in expected}
    assert all(found.texts.values())
    assert 0 < found.rtf < 1


def test_silent_and_unreadable_recordings_are_skipped_with_the_reason(
    golden_bundle: Bundle, recordings: list[Recording], tmp_path: Path
) -> None:
    found = evaluate(golden_bundle.path, recordings)
    assert found.skipped == {
        tmp_path / "silent.wav": "it holds only silence",
        tmp_path / "missing.wav": "the recording does not exist",
    }


def test_networks_that_answer_with_nan_find_nothing(
    golden_bundle: Bundle,
    recordings: list[Recording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = OnlineRecognizer.transcribe

    def transcribe(self: OnlineRecognizer, path: Path) -> Transcript:
        if path.name == "b.wav":
            raise DataError("the outputs of the networks are NaN")
        return original(self, path)

    monkeypatch.setattr(OnlineRecognizer, "transcribe", transcribe)
    found = evaluate(golden_bundle.path, recordings)
    assert found.texts[tmp_path / "a.wav"]
    assert (found.texts[tmp_path / "b.wav"], found.tokens[tmp_path / "b.wav"]) == ("", "")
    assert tmp_path / "b.wav" not in found.skipped


def test_after_an_error_a_bundle_exported_anew_is_loaded_anew(
    golden_bundle: Bundle,
    recordings: list[Recording],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(golden_bundle.path, path)
    whole = evaluate(path, recordings)
    with monkeypatch.context() as patched:
        patched.setattr(
            OnlineRecognizer, "transcribe", broken := Mock(side_effect=ValueError("interrupted"))
        )
        with pytest.raises(ValueError, match="interrupted"):
            evaluate(path, recordings)
    broken.assert_called_once()
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="does not exist"):
        evaluate(path, recordings)
    assert whole.texts
