"""The format onnx and its runtime in the conformance kit."""

from __future__ import annotations

from calve.testing import ExporterConformance, RuntimeConformance


class TestOnnx(ExporterConformance):
    format = "onnx"


class TestOnnxRuntime(RuntimeConformance):
    runtime = "onnx"
