"""Registers the formats that torch loads: weights alone, and TorchScript."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import Conventions, ExporterSpec, ExportStepSpec, LazyRef, hookimpl

__all__ = ["calve_register_exporters"]


@hookimpl
def calve_register_exporters() -> Iterator[ExporterSpec]:
    """The formats ``state-dict``, ``jit-trace`` and ``jit-script``."""
    yield ExporterSpec(
        format="state-dict",
        summary="pretrained.pt with only the weights, as icefall publishes models",
        options=LazyRef("calve_torchscript.options:NoOptions"),
        steps=(_step("write", "write the weights", "write_weights"),),
        runtime="state-dict",
        lint=LazyRef("calve_torchscript.lint:lint_weights"),
        metadata=None,
        conventions=Conventions(projected=True),
        offline=True,
    )
    yield ExporterSpec(
        format="jit-trace",
        summary="TorchScript in three files, as k2-fsa/sherpa loads recurrent models",
        options=LazyRef("calve_torchscript.options:NoOptions"),
        steps=(
            _step("compile", "compile encoder, decoder and joiner", "compile_networks"),
            _step("write", "write one file for each", "write_networks"),
            _step("lint", "look for what sherpa would miss", "check_lint"),
        ),
        runtime="torchscript",
        lint=LazyRef("calve_torchscript.lint:lint"),
        metadata=LazyRef("calve_torchscript.metadata:store"),
        conventions=Conventions(projected=True),
        inspect=LazyRef("calve_torchscript.inspection:inspect"),
    )
    yield ExporterSpec(
        format="jit-script",
        summary="TorchScript in one file, cpu_jit.pt, as k2-fsa/sherpa loads conformers",
        options=LazyRef("calve_torchscript.options:NoOptions"),
        steps=(
            _step("compile", "compile encoder, decoder and joiner", "compile_networks"),
            _step("write", "write one file for all", "write_model"),
            _step("lint", "look for what sherpa would miss", "check_lint"),
        ),
        runtime="torchscript",
        lint=LazyRef("calve_torchscript.lint:lint"),
        metadata=LazyRef("calve_torchscript.metadata:store"),
        conventions=Conventions(projected=True),
        offline=True,
        inspect=LazyRef("calve_torchscript.inspection:inspect"),
    )


def _step(name: str, summary: str, function: str) -> ExportStepSpec:
    return ExportStepSpec(name, summary, LazyRef(f"calve_torchscript.steps:{function}"))
