"""The format and its runtime keep what the conformance kit demands of any."""

from __future__ import annotations

from calve.testing import ExporterConformance, RuntimeConformance


class TestTorchExport(ExporterConformance):
    format = "torch-export"


class TestTorchExportRuntime(RuntimeConformance):
    runtime = "torch-export"
    needs_torch = True
