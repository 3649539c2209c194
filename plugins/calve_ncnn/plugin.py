"""Registers the ncnn export format and its quantizer."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import (
    ClientSpec,
    ExporterSpec,
    ExportStepSpec,
    LazyRef,
    QuantizerSpec,
    hookimpl,
)

__all__ = ["calve_register_exporters", "calve_register_quantizers"]


@hookimpl
def calve_register_exporters() -> Iterator[ExporterSpec]:
    """The format ``ncnn``."""
    yield ExporterSpec(
        format="ncnn",
        summary="ncnn networks that calve and sherpa-ncnn run on phones and small boards",
        options=LazyRef("calve_ncnn.options:NcnnOptions"),
        steps=(
            _step("trace", "trace each network with flat inputs", "trace_networks"),
            _step("pnnx", "convert them with pnnx", "convert_networks"),
            _step("metadata", "stamp SherpaMetaData into the encoder", "stamp_metadata"),
            _step("lint", "look for what a runtime would crash on", "check_lint"),
            _step("load", "load and run the networks in a child process", "check_loading"),
        ),
        runtime="ncnn",
        lint=LazyRef("calve_ncnn.lint:lint"),
        metadata=LazyRef("calve_ncnn.metadata:store"),
        clients=(
            ClientSpec(
                name="sherpa-ncnn",
                module="sherpa_ncnn",
                extra="sherpa-ncnn",
                transcribe=LazyRef("calve_ncnn.sherpa:transcribe"),
            ),
        ),
        precisions={"fp32": {"fp16": False}, "fp16": {"fp16": True}},
        default=True,
        doctor=LazyRef("calve_ncnn.wheels:diagnose"),
        inspect=LazyRef("calve_ncnn.inspection:inspect"),
    )


@hookimpl
def calve_register_quantizers() -> Iterator[QuantizerSpec]:
    """The scheme ``int8``."""
    yield QuantizerSpec(
        format="ncnn",
        scheme="int8",
        quantize=LazyRef("calve_ncnn.int8.quantizer:quantize"),
        needs_calibration=False,
        summary="8-bit integers for LSTM, linear, embedding and, on request, convolution layers",
        options=LazyRef("calve_ncnn.int8.options:Int8Options"),
    )


def _step(name: str, summary: str, function: str) -> ExportStepSpec:
    return ExportStepSpec(name, summary, LazyRef(f"calve_ncnn.steps:{function}"))
