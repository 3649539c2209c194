"""The formats that torch loads, and their runtimes, in the conformance kit."""

from __future__ import annotations

import pytest

from calve.testing import ExporterConformance, RuntimeConformance


class TestStateDict(ExporterConformance):
    format = "state-dict"


@pytest.mark.slow
class TestTrace(ExporterConformance):
    format = "jit-trace"


@pytest.mark.slow
class TestScript(ExporterConformance):
    format = "jit-script"
    recipe = "pruned_transducer_stateless5"


class TestStateDictRuntime(RuntimeConformance):
    runtime = "state-dict"
    needs_torch = True


class TestTorchscriptRuntime(RuntimeConformance):
    runtime = "torchscript"
    needs_torch = True
