"""Describes ONNX files for ``calve inspect``; the network is read as data and never loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calve.api import BundleError, PluginError

__all__ = ["inspect"]


def inspect(path: Path) -> dict[str, Any] | None:
    """What is in an ONNX file; None if it is none. Data outside the file are not opened.

    Raises:
      PluginError: if the package onnx is not installed.
      BundleError: if the file is damaged.
    """
    if path.suffix != ".onnx":
        return None
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise PluginError("onnx is not installed", fix="pip install 'calve[onnx]'") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise _damaged(path) from error
    graph = model.graph
    # To protobuf, an empty file is a model without anything in it.
    if not graph.node:
        raise _damaged(path)
    stored = {tensor.name for tensor in graph.initializer}
    return {
        "kind": "ONNX network",
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "operator sets": {one.domain or "ai.onnx": one.version for one in model.opset_import},
        "metadata": {one.key: one.value for one in model.metadata_props},
        "inputs": [_port(one) for one in graph.input if one.name not in stored],
        "outputs": [_port(one) for one in graph.output],
        "nodes": len(graph.node),
        "nodes by type": dict(Counter(node.op_type for node in graph.node).most_common()),
        "weights": _weights(graph.initializer),
    }


def _port(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return {
        "name": value.name,
        "type": _type_name(tensor.elem_type),
        "shape": ", ".join(map(str, shape)),
    }


def _weights(tensors: Iterable[Any]) -> list[dict[str, Any]]:
    """Numbers of each type, and whether some lie in other files."""
    from onnx import TensorProto

    counts: dict[str, Counter[str]] = {}
    for tensor in tensors:
        counted = counts.setdefault(_type_name(tensor.data_type), Counter())
        counted["tensors"] += 1
        counted["numbers"] += math.prod(tensor.dims)
        counted["in other files"] += tensor.data_location == TensorProto.EXTERNAL
    keys = ("tensors", "numbers", "in other files")
    return [
        {"stored as": name, **{key: counted[key] for key in keys}}
        for name, counted in counts.items()
    ]


def _type_name(number: int) -> str:
    from onnx import TensorProto

    known = dict(zip(TensorProto.DataType.values(), TensorProto.DataType.keys(), strict=True))
    return str(known.get(number, number)).lower()


def _damaged(path: Path) -> BundleError:
    return BundleError(
        "the file holds no ONNX network", where=path, fix="copy or export the bundle again"
    )
