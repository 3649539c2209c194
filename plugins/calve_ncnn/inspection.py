"""Describes ncnn's ``.param`` and ``.bin`` files for ``calve inspect``; nothing is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from calve.api import BundleError
from calve_ncnn.metadata import read_table
from calve_ncnn.param import MAGIC, ParamFile
from calve_ncnn.weights import read_tensors, read_weights

__all__ = ["inspect"]


def inspect(path: Path) -> dict[str, Any] | None:
    """What is in a network, given by either of its files; None if it is no ncnn network.

    Raises:
      BundleError: if the ``.param`` file cannot be read, or a ``.bin`` file has none beside it.
    """
    if path.suffix == ".bin":
        param_file, weights_file = path.with_suffix(".param"), path
        if not param_file.is_file():
            return None
    elif path.suffix == ".param" or _begins_as_param(path):
        param_file, weights_file = path, path.with_suffix(".bin")
    else:
        return None
    param = ParamFile.read(param_file)
    return {
        "kind": "ncnn network",
        "inputs": list(param.input_names),
        "outputs": list(param.output_names),
        "metadata": read_table(param) or {},
        "layers": len(param.layers),
        "layers by type": dict(Counter(layer.type for layer in param.layers).most_common()),
        "weights": _weights(param, weights_file),
    }


def _begins_as_param(path: Path) -> bool:
    magic = str(MAGIC).encode()
    with path.open("rb") as file:
        return file.read(len(magic) + 1).rstrip() == magic


def _weights(param: ParamFile, path: Path) -> list[dict[str, Any]] | str:
    """Numbers and bytes for each way of storing them; a sentence if they cannot be read."""
    if not path.is_file():
        return f"there is no {path.name} beside it"
    try:
        tensors = read_tensors(param, read_weights(path), path)
    except BundleError as error:
        return error.what
    return [
        {
            "stored as": dtype,
            "tensors": len(found),
            "numbers": sum(tensor.nbytes // _BYTES[dtype] for tensor in found),
            "bytes": sum(tensor.nbytes for tensor in found),
        }
        for dtype in _BYTES
        if (found := [tensor for tensor in tensors if tensor.dtype == dtype])
    ]


_BYTES = {"float32": 4, "float16": 2, "int8": 1}
