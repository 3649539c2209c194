"""Arrays in untrusted ``.npz`` files, checked before they are loaded.

The header of an array determines how much memory it takes, and a hostile file may state anything.
Here the header must match what the caller expects and what the file contains. Format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from calve.common.inputs import input_problem

__all__ = ["ArraySpec", "array_names", "read_arrays"]


@dataclass(frozen=True)
class ArraySpec:
    """The required type of an array.

    Attributes:
      kind: Kind of its dtype as in `numpy.dtype.kind`, a full name such as "int32", or several of
        these with ``|`` between them.
      ndim: Number of its axes; None for any number up to four.
    """

    kind: str
    ndim: int | None

    def fits(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        """Whether a type and a shape match."""
        has_axes = len(shape) <= 4 if self.ndim is None else len(shape) == self.ndim
        return has_axes and any(kind in (dtype.kind, dtype.name) for kind in self.kind.split("|"))


def read_arrays(
    path: str | PathLike[str], expected: Mapping[str, ArraySpec], *, max_bytes: int
) -> dict[str, NDArray[Any]]:
    """Read the expected arrays of an ``.npz`` file; others are ignored.

    Args:
      path: The file.
      expected: Required type of each array, by name.
      max_bytes: Largest total size in memory.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it is not an ``.npz`` file, is damaged, or an array is missing, too large or of
        another type.
    """
    _check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in expected}
            if (total := sum(member.file_size for member in members.values())) > max_bytes:
                raise ValueError(f"its arrays take {total} bytes, more than {max_bytes}")
            found = {}
            for name, member in members.items():
                with archive.open(member) as file:
                    found[name] = _read(file, name, expected[name], member.file_size)
            return found
    except KeyError as error:
        raise ValueError(f"it lacks an array: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def array_names(path: str | PathLike[str]) -> list[str]:
    """The names of the arrays in an ``.npz`` file; none of them is read.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it is no ``.npz`` file.
    """
    _check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def _check_regular(path: str | PathLike[str]) -> None:
    problem = input_problem(fspath(path), "regular file")
    if problem is not None and Path(path).exists() and not Path(path).is_file():
        raise ValueError(problem.what)


def _read(file: IO[bytes], name: str, spec: ArraySpec, size: int) -> NDArray[Any]:
    version = npy.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"the array {name} is of version {version}")
    shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    if not spec.fits(dtype, shape):
        raise ValueError(f"the array {name} is {dtype} of the shape {shape}")
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise ValueError(f"the array {name} is larger than its file")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError(f"the array {name} ends early")
    flat = np.frombuffer(data, dtype=dtype, count=count)
    # A copy, because an array on bytes is read-only.
    array: NDArray[Any] = flat.reshape(shape, order="F" if fortran_order else "C").copy()
    return array
