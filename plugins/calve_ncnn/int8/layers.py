"""The weights that ncnn supports in int8, by layer type, and the layer's parameters for it.

From ncnn's documentation of its operators (https://github.com/Tencent/ncnn/wiki/operators) and of
post-training quantization; checked against files that its own tools wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calve_ncnn.param import Layer

__all__ = ["INT8_TYPES", "Int8Weight", "as_int8", "int8_weights", "is_int8", "takes_fixed_range"]


@dataclass(frozen=True)
class Int8Weight:
    """A weight that can be int8.

    Attributes:
      tensor: Its name, as `calve_ncnn.weights` has it.
      scale: Name of the tensor of its scales.
      key: What follows the layer's name in a scale table.
      scales: How many scales it has; equal slices of the weight, in file order, share one each.
    """

    tensor: str
    scale: str
    key: str
    scales: int


_FIRST, _SECOND = "_param_0", "_param_1"


def _convolution(layer: Layer) -> tuple[Int8Weight, ...]:
    if layer.integer(19):  # its weights come in as blobs
        return ()
    return (Int8Weight("weight", "weight_scale", _FIRST, layer.integer(0)),)


def _depthwise(layer: Layer) -> tuple[Int8Weight, ...]:
    if layer.integer(19):
        return ()
    return (Int8Weight("weight", "weight_scale", _FIRST, layer.integer(7)),)


def _inner_product(layer: Layer) -> tuple[Int8Weight, ...]:
    return (Int8Weight("weight", "weight_scale", _FIRST, layer.integer(0)),)


def _gemm(layer: Layer) -> tuple[Int8Weight, ...]:
    """Only what torch's Linear becomes: B alone is constant, and stored with its rows first."""
    if layer.integer(4) or not layer.integer(5) or not layer.integer(3):
        return ()
    return (Int8Weight("b", "b_scale", _FIRST, 1),)


def _embed(layer: Layer) -> tuple[Int8Weight, ...]:
    return (Int8Weight("weight", "weight_scale", _FIRST, 1),)


def _lstm(layer: Layer) -> tuple[Int8Weight, ...]:
    """One scale for each gate of each cell; the projection of an LSTMP stays as it is."""
    directions = 2 if layer.integer(2) == 2 else 1
    rows = directions * 4 * layer.integer(3, layer.integer(0))
    return (
        Int8Weight("weight_ih", "weight_ih_scale", _FIRST, rows),
        Int8Weight("weight_hh", "weight_hh_scale", _SECOND, rows),
    )


@dataclass(frozen=True)
class _LayerType:
    """A layer type's int8 mode: ``flag=value`` in the param file turns it on."""

    flag: int
    value: int
    fixed_range: bool
    weights: Callable[[Layer], tuple[Int8Weight, ...]]


_TYPES = {
    "Convolution": _LayerType(8, 2, True, _convolution),
    "ConvolutionDepthWise": _LayerType(8, 1, True, _depthwise),
    "Embed": _LayerType(18, 2, False, _embed),
    "Gemm": _LayerType(18, 2, False, _gemm),
    "InnerProduct": _LayerType(8, 2, True, _inner_product),
    "LSTM": _LayerType(8, 2, False, _lstm),
}

INT8_TYPES = tuple(_TYPES)
"""Layer types that have an int8 mode."""


def int8_weights(layer: Layer) -> tuple[Int8Weight, ...]:
    """The weights that can be int8; none if ncnn has no int8 mode for this layer."""
    return _TYPES[layer.type].weights(layer) if layer.type in _TYPES else ()


def takes_fixed_range(layer: Layer) -> bool:
    """Whether int8 fixes the range of the layer's input in the file.

    The others measure the range of each input vector when they run.
    """
    return layer.type in _TYPES and _TYPES[layer.type].fixed_range


def is_int8(layer: Layer) -> bool:
    """Whether the layer's int8 mode is on."""
    return layer.type in _TYPES and bool(layer.integer(_TYPES[layer.type].flag))


def as_int8(layer: Layer) -> Layer:
    """The same layer with its int8 mode on."""
    kind = _TYPES[layer.type]
    return layer.with_parameter(kind.flag, kind.value)
