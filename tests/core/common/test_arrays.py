from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from calve.common.arrays import ArraySpec, read_arrays

SPEC = {"a": ArraySpec("float32", 2)}
LIMIT = 1 << 20


def _member(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    return path


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_in_either_order_and_others_are_ignored(tmp_path: Path, order: str):
    array = np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order)
    np.savez(tmp_path / "x.npz", a=array, b=np.array(["left alone"]))
    found = read_arrays(tmp_path / "x.npz", SPEC, max_bytes=LIMIT)
    assert found.keys() == {"a"}
    np.testing.assert_array_equal(found["a"], array)
    found["a"][0, 0] = 7  # it can be written to


def test_a_kind_stands_for_all_widths(tmp_path: Path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3, dtype=np.int16))
    assert read_arrays(tmp_path / "x.npz", {"a": ArraySpec("i", 1)}, max_bytes=LIMIT)["a"].size == 3


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3)), np.zeros(3, dtype=np.float32), np.array([["a"]])]
)
def test_another_type_or_shape_is_refused(tmp_path: Path, array: np.ndarray):
    np.savez(tmp_path / "x.npz", a=array)
    with pytest.raises(ValueError, match="the array a is"):
        read_arrays(tmp_path / "x.npz", SPEC, max_bytes=LIMIT)


def test_pickled_objects_are_refused(tmp_path: Path):
    np.savez(tmp_path / "x.npz", a=np.array([[{"code": 1}]], dtype=object))
    with pytest.raises(ValueError, match="the array a is object"):
        read_arrays(tmp_path / "x.npz", SPEC, max_bytes=LIMIT)


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path):
    small = _npy(np.zeros((2, 3), dtype=np.float32))
    header = small.replace(b"'shape': (2, 3), }            ", b"'shape': (2, 90000000000), }  ")
    assert header != small
    assert len(header) == len(small)
    with pytest.raises(ValueError, match="larger than its file"):
        read_arrays(_member(tmp_path / "x.npz", header), SPEC, max_bytes=LIMIT)


def test_a_file_that_expands_beyond_the_limit_is_refused_unread(tmp_path: Path):
    path = _member(tmp_path / "x.npz", _npy(np.zeros((1024, 1024), dtype=np.float32)))
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="more than 1048576"):
        read_arrays(path, SPEC, max_bytes=LIMIT)


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all" * 100])
def test_what_is_no_npz_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(tmp_path / "x.npz", SPEC, max_bytes=LIMIT)


def test_a_missing_array_is_named(tmp_path: Path):
    np.savez(tmp_path / "x.npz", b=np.zeros(1))
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_arrays(tmp_path / "x.npz", SPEC, max_bytes=LIMIT)


def test_flipped_bytes_are_noticed(tmp_path: Path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).random((50, 50), dtype=np.float32))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(path, SPEC, max_bytes=LIMIT)


def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(ValueError, match=f"this is a {name}, not a regular file"):
            read_arrays(tmp_path / name, {}, max_bytes=100)
