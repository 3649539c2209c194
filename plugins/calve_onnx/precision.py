"""ONNX networks with smaller weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

__all__ = ["CONVERTERS"]

_SMALL = 64
"""Tensors with fewer numbers than this are not worth a node of their own."""

_QUANTIZER_FOLDER = str(Path(onnxruntime.quantization.__file__).parent)

_FP16_MAX = float(np.finfo(np.float16).max)


def _keep(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _halve(model: onnx.ModelProto, path: Path) -> None:
    """Store weights as float16, and widen each with a Cast that is done once, when loading.

    A CPU has hardly a float16 operator; converting every activation there and back would cost time
    and accuracy for nothing.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            continue
        weight = numpy_helper.to_array(tensor).clip(-_FP16_MAX, _FP16_MAX)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


def _quantize(model: onnx.ModelProto, path: Path) -> None:
    """Store matrices, LSTMs and embeddings as int8, one scale per column; activations become uint8.

    Loops are quantized as well. Convolutions are not: they are small and lose the most. Neither
    are stacks of matrices, for which ONNX Runtime has no integer kernel.
    """
    # Shapes of one example; the quantizer would trust them more than its own inference.
    del model.graph.value_info[:]
    with _without_advice():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gather", "LSTM"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_products_with_stacks(model.graph),
            extra_options={"EnableSubgraph": True},
        )


def _products_with_stacks(graph: onnx.GraphProto) -> list[str]:
    """Names of the products with a constant of more than two axes."""
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [
        node.name for node in graph.node if node.op_type == "MatMul" and stacks & set(node.input)
    ]


CONVERTERS = {"fp32": _keep, "fp16": _halve, "int8": _quantize}
"""Writes a network to a file, by precision; the model given may be changed."""


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence what the quantizer recommends to the authors of other programs.

    It logs on the root logger, which Python would configure for good if it had no handler.
    """
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(_is_no_advice)
        root.removeHandler(handler)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or not record.pathname.startswith(_QUANTIZER_FOLDER)
