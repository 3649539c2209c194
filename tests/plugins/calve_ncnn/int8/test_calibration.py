from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.api import BundleError, DataError
from calve.bundles.bundle import Bundle
from calve.common.progress import NO_PROGRESS
from calve.decoding.online_recognizer import OnlineRecognizer
from calve_ncnn.int8.calibration import Calibration, Taps, calibrate
from calve_ncnn.int8.quantize import NetworkFiles


@pytest.fixture(scope="module")
def taps(networks: list[NetworkFiles]) -> Taps:
    encoder = networks[0]
    convolutions = tuple(one.inputs[0] for one in encoder.param.of_type("Convolution"))
    joiner = networks[2]
    linears = tuple(one.inputs[0] for one in joiner.param.of_type("InnerProduct"))
    return (("encoder", convolutions), ("joiner", linears))


@pytest.fixture(scope="module")
def recordings(demo: Path) -> list[Path]:
    return sorted(demo.glob("*.wav"))[:3]


@pytest.fixture(scope="module")
def calibration(golden_bundle: Bundle, recordings: list[Path], taps: Taps) -> Calibration:
    return calibrate(golden_bundle, recordings, taps, jobs=1, progress=NO_PROGRESS)


def test_the_joiners_inputs_are_those_of_decoding(
    golden_bundle: Bundle, recordings: list[Path], calibration: Calibration
) -> None:
    """What a session that notes its own calls sees, at the chunk length of calibration."""
    session = golden_bundle.open_streaming_session()
    joined: list[np.ndarray] = []
    decoded: list[np.ndarray] = []
    join = session.join

    def noting(encoder_out: np.ndarray, decoder_out: np.ndarray) -> np.ndarray:
        joined.append(encoder_out.copy())
        decoded.append(decoder_out.copy())
        return join(encoder_out, decoder_out)

    session.join = noting  # type: ignore[method-assign]
    manifest = golden_bundle.manifest
    recognizer = OnlineRecognizer(
        session,
        golden_bundle.symbols,
        tail_padding_frames=manifest.tail_padding_frames,
        chunk_ms=640,
    )
    recognizer.warm_up()
    joined.clear()
    decoded.clear()
    for path in recordings:
        recognizer.transcribe(path)
    for blob, arrays in (("in0", joined), ("in1", decoded)):
        values = np.abs(np.concatenate(arrays).ravel())
        seen = calibration.histograms["joiner", blob]
        assert seen.absmax == pytest.approx(values.max(), rel=1e-6)
        assert seen.counts.sum() == np.count_nonzero(values)
        expected, _ = np.histogram(values[values > 0], seen.counts.size, (0, seen.absmax))
        # A value on an edge may fall to either side.
        assert np.abs(expected - seen.counts).sum() <= 4


def test_features_are_the_first_convolutions_input(
    calibration: Calibration, networks: list[NetworkFiles]
) -> None:
    blob = networks[0].param.of_type("Convolution")[0].inputs[0]
    # log of the smallest float that kaldi's filter banks know, -15.94
    assert 10 < calibration.histograms["encoder", blob].absmax < 16


def test_the_inputs_of_tanh_outputs_lie_within_one(
    calibration: Calibration, networks: list[NetworkFiles]
) -> None:
    last = networks[2].param.of_type("InnerProduct")[-1].inputs[0]
    assert 0.3 < calibration.histograms["joiner", last].absmax <= 1


def test_several_processes_find_the_same(
    golden_bundle: Bundle, recordings: list[Path], taps: Taps, calibration: Calibration
) -> None:
    again = calibrate(golden_bundle, recordings, taps, jobs=2, progress=NO_PROGRESS)
    assert again.histograms.keys() == calibration.histograms.keys()
    for key, histogram in calibration.histograms.items():
        assert again.histograms[key].absmax == histogram.absmax
        np.testing.assert_array_equal(again.histograms[key].counts, histogram.counts)
    assert again.report.recordings == 3


def write(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    soundfile.write(path, samples, rate)
    return path


def test_useless_recordings_are_skipped_and_named(
    golden_bundle: Bundle, recordings: list[Path], taps: Taps, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    bad = {
        write(tmp_path / "silent.wav", np.zeros(16000)): "only silence",
        write(tmp_path / "short.wav", noise[:800]): "lasts only 0.05 s",
        write(tmp_path / "telephone.wav", noise, 8000): "8000 Hz, the model's is 16000",
        write(tmp_path / "empty.wav", noise[:0]): "no samples",
        tmp_path / "missing.wav": "",
        tmp_path / "text.wav": "",
    }
    (tmp_path / "text.wav").write_text("not audio")
    found = calibrate(golden_bundle, [*bad, *recordings], taps, jobs=1, progress=NO_PROGRESS)
    assert found.report.recordings == len(recordings)
    assert found.report.skipped.keys() == set(map(str, bad))
    for path, reason in bad.items():
        assert reason in found.report.skipped[str(path)]


def test_after_an_error_a_bundle_exported_anew_is_loaded_anew(
    golden_bundle: Bundle, recordings: list[Path], taps: Taps, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(golden_bundle.path, path)
    silent = write(tmp_path / "silent.wav", np.zeros(32000))
    with pytest.raises(DataError, match="can be used"):
        calibrate(Bundle.open(path), [silent], taps, jobs=1, progress=NO_PROGRESS)
    opened = Bundle.open(path)
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="does not exist"):
        calibrate(opened, recordings, taps, jobs=1, progress=NO_PROGRESS)


def test_too_little_usable_audio_is_refused_with_the_reasons(
    golden_bundle: Bundle, taps: Taps, tmp_path: Path
) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros(32000))
    with pytest.raises(DataError, match="0 of 1 recordings can be used") as caught:
        calibrate(golden_bundle, [silent], taps, jobs=1, progress=NO_PROGRESS)
    assert "silent.wav: it holds only silence" in caught.value.what
