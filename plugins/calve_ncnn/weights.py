"""The position of each tensor in an ncnn ``.bin`` file.

The file has no index: each layer of the ``.param`` file reads what it needs, in order. Most
weights begin with a 4-byte tag that says how they are stored and are padded to 4 bytes; biases,
scales and norms are plain float32. What a layer type reads is known from ncnn's documentation
(https://github.com/Tencent/ncnn/wiki/operators) and checked against files of its own tools.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError
from calve.common.inputs import check_not_placeholder
from calve_ncnn.param import Layer, ParamFile

__all__ = ["TAGS", "WEIGHTLESS", "WeightTensor", "read_tensors", "read_weights", "tensor_specs"]

TAGS = {0: "float32", 0x01306B47: "float16", 0x000D4B38: "int8"}
"""Storage tag -> numpy dtype name."""

_WEIGHTLESS_NAMES = """
    AbsVal BinaryOp BNLL Cast CELU Clip Concat Crop CumulativeSum Diag Dropout Einsum ELU Erf Exp
    ExpandDims Flatten Flip Fold GELU GLU HardSigmoid HardSwish Input Interp Log LogSoftmax MatMul
    Mish Noop Packing Padding Permute Pooling Pooling1D Power Reduction ReLU Reorg Reshape
    RotaryEmbed SDPA SELU SherpaMetaData Shrink Sigmoid Slice Softmax Softplus Split Squeeze Swish
    TanH Threshold Tile UnaryOp Unfold
"""
WEIGHTLESS = frozenset(_WEIGHTLESS_NAMES.split())
"""Layer types that read nothing from the ``.bin`` file."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a layer reads: its name in the layer, its shape, and whether a tag precedes."""

    name: str
    shape: tuple[int, ...]
    tagged: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class WeightTensor:
    """A tensor's place in the file.

    Attributes:
      layer: Name of the layer that reads it.
      name: Its role there: "weight", "bias", "weight_ih", "weight_scale", ...
      dtype: "float32", "float16" or "int8".
      shape: C order, output rows first as torch has them.
      tag: Storage tag, None for an untagged tensor.
      offset: Byte offset of the first element, after the tag.
      nbytes: Bytes of the elements, without padding.
    """

    layer: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    tag: int | None
    offset: int
    nbytes: int

    def array(self, data: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The values, a view of the file's bytes."""
        return data[self.offset : self.offset + self.nbytes].view(self.dtype).reshape(self.shape)


def tensor_specs(layer: Layer) -> list[TensorSpec]:
    """What ``layer`` reads from the ``.bin`` file, in order.

    Raises:
      BundleError: for a layer type whose layout is not known, or impossible parameters.
    """
    if layer.type in WEIGHTLESS:
        return []
    layout = _LAYOUTS.get(layer.type)
    if layout is None:
        raise BundleError(
            f"the weight layout of ncnn's {layer.type} is not known to calve",
            where=f"layer {layer.name}, line {layer.line}",
            fix="write the model without this operator",
        )
    try:
        specs = list(layout(layer))
    except (ValueError, ZeroDivisionError) as error:
        raise BundleError(
            f"impossible parameters: {error}", where=f"layer {layer.name}, line {layer.line}"
        ) from error
    if any(size <= 0 for spec in specs for size in spec.shape):
        raise BundleError(
            "a weight without elements", where=f"layer {layer.name}, line {layer.line}"
        )
    return specs


def read_weights(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, mapped into memory and not copied.

    Raises:
      BundleError: if the file cannot be opened.
    """
    check_not_placeholder(path, "file of weights", BundleError)
    try:
        return np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise BundleError(
            f"cannot read the weights: {error.strerror}", where=path, fix="export the bundle again"
        ) from error


def read_tensors(
    param: ParamFile, data: NDArray[np.uint8], path: object = None
) -> list[WeightTensor]:
    """Locate every tensor of a network.

    Args:
      param: The network.
      data: The ``.bin`` file's bytes, from `read_weights`.
      path: The ``.bin`` file, for messages.

    Raises:
      BundleError: if the file is shorter or longer than the network needs, or a tag is unknown.
    """
    tensors: list[WeightTensor] = []
    offset = 0
    for layer in param.layers:
        for spec in _specs(param, layer):
            tensor = _locate(layer, spec, data, offset, path)
            tensors.append(tensor)
            offset = tensor.offset + -(-tensor.nbytes // 4) * 4
    if offset != data.size:
        raise BundleError(
            f"the weights hold {data.size} bytes, the network reads {offset}",
            where=path,
            fix="put the .param and .bin files of one conversion together",
        )
    return tensors


def _specs(param: ParamFile, layer: Layer) -> list[TensorSpec]:
    """As `tensor_specs`, whose errors do not know the file."""
    try:
        return tensor_specs(layer)
    except BundleError as error:
        where = f"{param.path}, {error.where}"
        raise BundleError(error.what, where=where, fix=error.fix) from error


def _locate(
    layer: Layer, spec: TensorSpec, data: NDArray[np.uint8], offset: int, path: object
) -> WeightTensor:
    tag: int | None = None
    dtype = "float32"
    if spec.tagged:
        tag = int.from_bytes(data[offset : offset + 4].tobytes(), "little")
        if tag not in TAGS:
            raise BundleError(
                f"unknown storage tag {tag:#010x} at byte {offset}, where {layer.name} "
                f"expects its {spec.name}",
                where=path,
                fix="put the .param and .bin files of one conversion together",
            )
        dtype = TAGS[tag]
        offset += 4
    nbytes = spec.size * np.dtype(dtype).itemsize
    if offset + nbytes > data.size:
        raise BundleError(
            f"the weights end at byte {data.size}, inside {spec.name} of {layer.name}, which "
            f"needs {nbytes} bytes from {offset}",
            where=path,
            fix="the file is cut short or belongs to another .param: copy or convert it again",
        )
    return WeightTensor(layer.name, spec.name, dtype, spec.shape, tag, offset, nbytes)


def _weight(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, tagged=True)


def _plain(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, tagged=False)


def _convolution(layer: Layer) -> Iterator[TensorSpec]:
    """Convolution, and Convolution1D, which has no int8 and no kernel height."""
    if layer.integer(19):  # dynamic weights come in as blobs
        return
    rows, width = layer.integer(0), layer.integer(1)
    height = layer.integer(11, width) if layer.type == "Convolution" else 1
    columns = layer.integer(6) // rows // width // height
    yield _weight("weight", rows, columns, *((height, width) if height > 1 or width > 1 else ()))
    if layer.integer(5):
        yield _plain("bias", rows)
    scaled = layer.integer(8) if layer.type == "Convolution" else 0
    if scaled:
        yield _plain("weight_scale", rows)
        yield _plain("input_scale", 1)
    if scaled > 100:
        yield _plain("output_scale", 1)


def _depthwise(layer: Layer) -> Iterator[TensorSpec]:
    """ConvolutionDepthWise, and ConvolutionDepthWise1D, which has no int8."""
    if layer.integer(19):
        return
    rows = layer.integer(0)
    yield _weight("weight", rows, layer.integer(6) // rows)
    if layer.integer(5):
        yield _plain("bias", rows)
    scaled = layer.integer(8) if layer.type == "ConvolutionDepthWise" else 0
    if scaled:
        yield _plain("weight_scale", layer.integer(7) if scaled in (1, 101) else 1)
        yield _plain("input_scale", 1)
    if scaled > 100:
        yield _plain("output_scale", 1)


def _inner_product(layer: Layer) -> Iterator[TensorSpec]:
    rows = layer.integer(0)
    yield _weight("weight", rows, layer.integer(2) // rows)
    if layer.integer(1):
        yield _plain("bias", rows)
    if layer.integer(8):
        yield _plain("weight_scale", rows)
        yield _plain("input_scale", 1)


def _gemm(layer: Layer) -> Iterator[TensorSpec]:
    """``alpha * A @ B + beta * C``, any of the three constant; B is the weight of a Linear."""
    m, n, k = layer.integer(7), layer.integer(8), layer.integer(9)
    if layer.integer(4):
        yield _weight("a", *((k, m) if layer.integer(2) else (m, k)))
    if layer.integer(5):
        yield _weight("b", *((n, k) if layer.integer(3) else (k, n)))
    broadcast = layer.integer(10)
    if layer.integer(6) and broadcast != -1:
        shapes = {0: (1,), 1: (m,), 2: (m, 1), 3: (m, n), 4: (n,)}
        if broadcast not in shapes:
            raise ValueError(f"{layer.name} broadcasts C in the unknown way {broadcast}")
        yield _weight("c", *shapes[broadcast])
    if layer.integer(18):
        if layer.integer(4):
            yield _plain("a_scale", m)
        if layer.integer(5):
            yield _plain("b_scale", 1)


def _embed(layer: Layer) -> Iterator[TensorSpec]:
    columns = layer.integer(0)
    yield _weight("weight", layer.integer(3) // columns, columns)
    if layer.integer(2):
        yield _plain("bias", columns)
    if layer.integer(18):
        yield _plain("weight_scale", 1)


def _lstm(layer: Layer) -> Iterator[TensorSpec]:
    """Gates in ncnn's order (i, f, o, g); ``weight_hr`` is the projection of an LSTMP."""
    output = layer.integer(0)
    hidden = layer.integer(3, output)
    directions = 2 if layer.integer(2) == 2 else 1
    columns = layer.integer(1) // directions // hidden // 4
    yield _weight("weight_ih", directions, 4 * hidden, columns)
    yield _weight("bias", directions, 4, hidden)
    yield _weight("weight_hh", directions, 4 * hidden, output)
    if output != hidden:
        yield _weight("weight_hr", directions, output, hidden)
    if layer.integer(8):
        yield _plain("weight_ih_scale", directions, 4 * hidden)
        yield _plain("weight_hh_scale", directions, 4 * hidden)


def _memory_data(layer: Layer) -> Iterator[TensorSpec]:
    # Innermost last: ncnn stores width, height, depth, channels as parameters 0, 1, 11, 2.
    shape = tuple(size for size in (layer.integer(key) for key in (2, 11, 1, 0)) if size)
    yield TensorSpec("data", shape, tagged=layer.integer(21, 1) == 0)


def _layer_norm(layer: Layer) -> Iterator[TensorSpec]:
    if layer.integer(2, 1):
        yield _plain("weight", layer.integer(0))
        yield _plain("bias", layer.integer(0))


def _rms_norm(layer: Layer) -> Iterator[TensorSpec]:
    if layer.integer(2, 1):
        yield _plain("weight", layer.integer(0))


def _group_norm(layer: Layer) -> Iterator[TensorSpec]:
    if layer.integer(3, 1):
        yield _plain("weight", layer.integer(1))
        yield _plain("bias", layer.integer(1))


def _batch_norm(layer: Layer) -> Iterator[TensorSpec]:
    for name in ("weight", "mean", "variance", "bias"):
        yield _plain(name, layer.integer(0))


def _prelu(layer: Layer) -> Iterator[TensorSpec]:
    yield _plain("slope", layer.integer(0))


_LAYOUTS: dict[str, Callable[[Layer], Iterator[TensorSpec]]] = {
    "BatchNorm": _batch_norm,
    "Convolution": _convolution,
    "Convolution1D": _convolution,
    "ConvolutionDepthWise": _depthwise,
    "ConvolutionDepthWise1D": _depthwise,
    "Embed": _embed,
    "Gemm": _gemm,
    "GroupNorm": _group_norm,
    "InnerProduct": _inner_product,
    "LSTM": _lstm,
    "LayerNorm": _layer_norm,
    "MemoryData": _memory_data,
    "PReLU": _prelu,
    "RMSNorm": _rms_norm,
}
