"""Mutations of NumPy archives: golden.npz and decoding graphs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzzing.blobs import rewrite
from fuzzing.values import hostile_number, hostile_text

__all__ = ["edit_arrays"]

_DTYPES = ("u1", "i1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "?", "S3", "U2", "M8[s]")


def edit_arrays(rng: Random, path: Path) -> str:
    """Change one array, one name or one header of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    said = rng.choice(_EDITS)(rng, members, name)
    stream = io.BytesIO()
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member or "empty"), content, compression)
    rewrite(path, stream.getvalue())
    return said


def _array(members: dict[str, bytes], name: str) -> Any:
    return np.load(io.BytesIO(members[name]), allow_pickle=False)


def _store(members: dict[str, bytes], name: str, array: Any) -> None:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    members[name] = stream.getvalue()


def _element(rng: Random, members: dict[str, bytes], name: str) -> str:
    array = _array(members, name).copy()
    number = hostile_number(rng)
    if array.size == 0 or array.dtype.kind not in "iuf":
        return _dtype(rng, members, name)
    with np.errstate(all="ignore"):
        limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
        if limits is not None:
            number = 0 if number != number else max(limits.min, min(limits.max, number))
            number = int(number)
        elif isinstance(number, int) and abs(number) > 1e308:
            number = float("inf")
        flat = array.reshape(-1)
        flat[rng.randrange(flat.size)] = number
    _store(members, name, array)
    return f"an element of {name} = {number}"


def _all(rng: Random, members: dict[str, bytes], name: str) -> str:
    number = rng.choice((0, -1, 1, 2**31 - 1, 2**62))
    array = _array(members, name)
    _store(members, name, np.full(array.shape, number))
    return f"all of {name} = {number}, int64"


def _dtype(rng: Random, members: dict[str, bytes], name: str) -> str:
    dtype = rng.choice(_DTYPES)
    array = _array(members, name)
    with np.errstate(all="ignore"):
        try:
            changed = array.astype(dtype)
        except (ValueError, TypeError):
            changed = np.zeros(array.shape, dtype)
    _store(members, name, changed)
    return f"dtype of {name}: {dtype}"


def _shape(rng: Random, members: dict[str, bytes], name: str) -> str:
    array = _array(members, name)
    shapes = (array[None], array.reshape(-1), array.reshape(-1)[:1], array.reshape(-1)[:0])
    more = (np.concatenate([array.reshape(-1)] * 2), np.zeros((0, 3)), np.zeros((3, 0), "f4"))
    changed = rng.choice((*shapes, *more, array.reshape(-1)[0] if array.size else array, array.T))
    _store(members, name, changed)
    return f"shape of {name}: {np.shape(changed)}"


def _header(rng: Random, members: dict[str, bytes], name: str) -> str:
    shape = rng.choice(("(10**12,)", "(1000000000000,)", "(-1,)", "(2147483648, 2147483648)", "()"))
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    members[name] = start + header + members[name][128:]
    return f"the header of {name} promises {shape}"


def _objects(rng: Random, members: dict[str, bytes], name: str) -> str:
    _store(members, name, np.array([{"a": 1}, None], dtype=object))
    return f"{name} holds a pickle"


def _content(rng: Random, members: dict[str, bytes], name: str) -> str:
    members[name] = rng.choice((b"", rng.randbytes(200), members[name][:60], b"\x93NUMPY"))
    return f"{name}: other bytes"


def _rename(rng: Random, members: dict[str, bytes], name: str) -> str:
    other = rng.choice((hostile_text(rng) + ".npy", name.replace(".npy", "2.npy"), "x.txt"))
    members[other.replace("\x00", "")] = members.pop(name)
    return f"{name} renamed to {other[:40]!r}"


def _drop(rng: Random, members: dict[str, bytes], name: str) -> str:
    del members[name]
    return f"{name} removed"


def _swap(rng: Random, members: dict[str, bytes], name: str) -> str:
    other = rng.choice(sorted(members))
    members[name], members[other] = members[other], members[name]
    return f"{name} and {other} swapped"


_EDITS = (
    *(_element, _element, _element, _all, _dtype, _dtype, _shape, _shape),
    *(_header, _objects, _content, _rename, _drop, _swap),
)
