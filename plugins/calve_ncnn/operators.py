"""The operators of each runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ncnn

from calve_ncnn.param import Layer

__all__ = ["RUNTIMES", "SHERPA_NCNN_OPERATORS", "ncnn_has", "unsupported"]

_SHERPA_NCNN = """
BinaryOp Cast Concat Convolution Convolution1D ConvolutionDepthWise1D Crop Deconvolution1D
DeconvolutionDepthWise1D Dequantize Dropout Eltwise Embed ExpandDims Flatten Flip GELU GLU Gemm
InnerProduct Input LSTM LayerNorm MatMul MemoryData Packing Padding Permute Quantize RNN ReLU
Reduction Requantize Reshape SherpaMetaData Sigmoid Slice Softmax Split Squeeze TanH UnaryOp
"""
SHERPA_NCNN_OPERATORS = frozenset(_SHERPA_NCNN.split())
"""Operators compiled into the wheel sherpa-ncnn 2.1.15, asked of its own library; a test asks the
installed wheel again. It knows the names of many others and crashes on them."""


def ncnn_has(operator: str) -> bool:
    """Whether the installed ncnn can create the operator, or calve takes it out before loading."""
    return operator == "SherpaMetaData" or ncnn.create_layer(operator) is not None


RUNTIMES: dict[str, Callable[[str], bool]] = {
    "ncnn": ncnn_has,
    "sherpa-ncnn": SHERPA_NCNN_OPERATORS.__contains__,
}
"""Runtime name -> whether it has an operator."""


def unsupported(layers: Iterable[Layer], runtime: str) -> list[Layer]:
    """The layers whose operator the runtime does not have."""
    has = RUNTIMES[runtime]
    known = {kind: has(kind) for kind in {layer.type for layer in layers}}
    return [layer for layer in layers if not known[layer.type]]
