"""Options of the ONNX export format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from calve.api import Range, check_ranges

__all__ = ["MAX_OPSET", "MIN_OPSET", "OnnxOptions"]

MIN_OPSET, MAX_OPSET = 13, 20
"""The first with per-channel quantization, and the last that torch's exporter writes."""


@dataclass(frozen=True)
class OnnxOptions:
    """What ``calve export RECIPE --format onnx`` takes."""

    precision: Literal["fp32", "fp16", "int8"] = field(
        default="fp32",
        metadata={
            "help": "Precision of the weights. fp16 halves the files. int8 quarters them and "
            "computes with integers whose ranges are measured at run time."
        },
    )
    opset: int = field(
        default=17,
        metadata={
            "help": "Version of the ONNX operator set.",
            "range": Range(MIN_OPSET, MAX_OPSET),
        },
    )

    def __post_init__(self) -> None:
        check_ranges(self)
