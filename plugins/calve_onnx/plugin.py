"""Registers the ONNX export format."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import ClientSpec, Conventions, ExporterSpec, ExportStepSpec, LazyRef, hookimpl

__all__ = ["calve_register_exporters"]


@hookimpl
def calve_register_exporters() -> Iterator[ExporterSpec]:
    """The format ``onnx``."""
    yield ExporterSpec(
        format="onnx",
        summary="ONNX networks that calve and sherpa-onnx run with ONNX Runtime",
        options=LazyRef("calve_onnx.options:OnnxOptions"),
        steps=(
            _step("networks", "export each network with flat inputs", "export_networks"),
            _step("precision", "store the weights as wanted", "convert_precision"),
            _step("metadata", "stamp what sherpa-onnx reads", "stamp_metadata"),
            _step("lint", "look for what a runtime would refuse or misread", "check_lint"),
        ),
        runtime="onnx",
        lint=LazyRef("calve_onnx.lint:lint"),
        metadata=LazyRef("calve_onnx.metadata:store"),
        clients=(
            ClientSpec(
                name="sherpa-onnx",
                module="sherpa_onnx",
                extra="sherpa-onnx",
                transcribe=LazyRef("calve_onnx.sherpa:transcribe"),
            ),
        ),
        extra="onnx",
        conventions=Conventions(projected=True, initial_symbol=-1),
        precisions={name: {"precision": name} for name in ("fp32", "fp16", "int8")},
        inspect=LazyRef("calve_onnx.inspection:inspect"),
    )


def _step(name: str, summary: str, function: str) -> ExportStepSpec:
    return ExportStepSpec(name, summary, LazyRef(f"calve_onnx.steps:{function}"))
