"""The golden input and output kept in a bundle."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.bundles.bundle import Bundle
from calve.bundles.golden import Golden, pcm_samples
from calve.data.features import compute_fbank
from calve.errors import BundleError

SOUND = {
    "sample_rate": np.int64(16000),
    "pcm": np.ones(400, np.int16),
    "features": np.ones((2, 80), np.float32),
    "chunk_ms": np.int64(40),
    "chunks": np.int64(1),
    "tokens": np.array([1, 2]),
    "output:encoder_out": np.ones((1, 4), np.float32),
    "output:processed_lens": np.ones(1, np.int64),
}


def test_what_is_written_is_read_back(golden_bundle: Bundle, tmp_path: Path):
    golden = Golden.read(golden_bundle.path / "golden.npz")
    golden.write(tmp_path / "again.npz")
    again = Golden.read(tmp_path / "again.npz")
    assert np.array_equal(again.pcm, golden.pcm)
    assert np.array_equal(again.features, golden.features)
    assert again.observation.tokens == golden.observation.tokens
    assert again.observation.outputs.keys() == golden.observation.outputs.keys()
    assert (again.observation.chunk_ms, again.sample_rate) == (40, 16000)


def test_that_whole_utterances_were_observed_is_read_back(golden_bundle: Bundle, tmp_path: Path):
    golden = Golden.read(golden_bundle.path / "golden.npz")
    whole = replace(golden, observation=replace(golden.observation, chunk_ms=None))
    whole.write(tmp_path / "whole.npz")
    assert Golden.read(tmp_path / "whole.npz").observation.chunk_ms is None


def test_its_features_are_those_of_its_recording(golden_bundle: Bundle):
    golden = Golden.read(golden_bundle.path / "golden.npz")
    assert np.array_equal(compute_fbank(pcm_samples(golden.pcm)), golden.features)


def test_it_is_small_and_holds_enough_chunks(golden_bundle: Bundle):
    golden = Golden.read(golden_bundle.path / "golden.npz")
    assert golden.pcm.nbytes <= 100_000
    assert golden.observation.chunks >= 20
    assert golden_bundle.manifest.files["golden.npz"].size < 500_000


def test_the_wav_holds_the_same_samples(golden_bundle: Bundle, tmp_path: Path):
    golden = Golden.read(golden_bundle.path / "golden.npz")
    golden.write_wav(tmp_path / "golden.wav")
    samples, sample_rate = soundfile.read(tmp_path / "golden.wav", dtype="int16")
    assert sample_rate == 16000
    assert np.array_equal(samples, golden.pcm)


@pytest.mark.parametrize("size", [0, 10, 1000, -1])
def test_a_truncated_file_is_an_error_that_names_it(bundle_dir: Path, size: int):
    path = bundle_dir / "golden.npz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError, match=r"golden\.npz"):
        Golden.read(path)


def test_flipped_bits_are_an_error_that_names_the_file(bundle_dir: Path):
    path = bundle_dir / "golden.npz"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 200):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with suppress(BundleError):
            Golden.read(path)  # some bits mean nothing


def test_a_foreign_archive_is_an_error(tmp_path: Path):
    np.savez(tmp_path / "golden.npz", weights=np.zeros(3))
    with pytest.raises(BundleError, match="it lacks an array"):
        Golden.read(tmp_path / "golden.npz")


def test_an_archive_that_would_run_code_is_refused(tmp_path: Path):
    path = tmp_path / "golden.npz"
    np.savez(path, **SOUND | {"chunks": np.array([print], dtype=object)})
    with pytest.raises(BundleError, match="chunks is object"):
        Golden.read(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("sample_rate", 2**62),
        ("sample_rate", 0),
        ("sample_rate", 16000.0),
        ("chunk_ms", -1),
        ("chunks", 0),
        ("pcm", np.zeros(9, np.int64)),
        ("pcm", np.zeros(0, np.int16)),
        ("pcm", np.zeros((2, 9), np.int16)),
        ("features", np.zeros((2, 80), np.uint8)),
        ("features", np.zeros((0, 80), np.float32)),
        ("tokens", np.zeros((1, 1), np.int64)),
        ("output:/etc/x", np.zeros(3, np.float64)),
    ],
)
def test_arrays_of_other_types_shapes_and_ranges_are_refused(
    tmp_path: Path, name: str, array: object
):
    np.savez(tmp_path / "sound.npz", **SOUND)
    assert Golden.read(tmp_path / "sound.npz").sample_rate == 16000
    np.savez(tmp_path / "golden.npz", **SOUND | {name: np.asarray(array)})
    with pytest.raises(BundleError, match="cannot read the golden") as caught:
        Golden.read(tmp_path / "golden.npz")
    assert caught.value.where == str(tmp_path / "golden.npz")


def test_outputs_that_count_frames_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **SOUND)
    outputs = Golden.read(tmp_path / "golden.npz").observation.outputs
    assert outputs["processed_lens"].dtype == np.int64
