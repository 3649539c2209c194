"""The format ncnn, its runtime and its quantizer in the conformance kit."""

from __future__ import annotations

import pytest

from calve.testing import ExporterConformance, QuantizerConformance, RuntimeConformance


@pytest.mark.slow
class TestNcnn(ExporterConformance):
    format = "ncnn"


class TestNcnnRuntime(RuntimeConformance):
    runtime = "ncnn"


class TestInt8(QuantizerConformance):
    format, scheme = "ncnn", "int8"
