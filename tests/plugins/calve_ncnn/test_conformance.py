"""The format ncnn and its runtime in the conformance kit."""

from __future__ import annotations

from calve.testing import ExporterConformance, RuntimeConformance


class TestNcnn(ExporterConformance):
    format = "ncnn"


class TestNcnnRuntime(RuntimeConformance):
    runtime = "ncnn"
