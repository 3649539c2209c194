"""The scheme int8 of ncnn bundles, from the options to the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from calve.api import ConfigError
from calve.data.recordings import find_recordings, find_with_references
from calve.protocols import (
    CalibrationReport,
    LayerReport,
    QuantizationReport,
    QuantizationWorkspace,
    VariantReport,
)
from calve.protocols.bundles import OpenedBundle
from calve_ncnn.int8.gate import Judge, find_passing
from calve_ncnn.int8.layers import takes_fixed_range
from calve_ncnn.int8.options import Int8Options
from calve_ncnn.int8.page import PAGE_FILE, write_page
from calve_ncnn.int8.plan import NetworkPlan, assign_tables, make_plans, resolve_kept
from calve_ncnn.int8.quantize import NetworkFiles
from calve_ncnn.int8.ranges import Ranges, ranges_of_golden, ranges_of_recordings
from calve_ncnn.int8.sensitivity import layer_errors
from calve_ncnn.int8.variants import all_fp16, write_networks, write_variant
from calve_ncnn.layout import NETWORKS

__all__ = ["quantize", "table_name"]

_SCHEME = "int8"


def table_name(network: str) -> str:
    """File name of a network's scale table in a quantized bundle."""
    return f"{network}-scale-table.txt"


def quantize(workspace: QuantizationWorkspace) -> QuantizationReport:
    """A `calve.protocols.Quantizer`.

    Writes the networks, a scale table for each network that has int8 layers, and the report's
    page into the workspace's folder.
    """
    job = _QuantizationJob(workspace)
    ranges = job.ranges()
    planned = [ranges.complete(plan) for plan in job.plans]
    judgement = job.judge(planned)
    final = judgement.plans or planned
    write_networks(final, workspace.folder)
    for plan in final:
        if plan.int8:
            plan.table.write(workspace.folder / table_name(plan.network.name))
    written = [NetworkFiles.open(workspace.folder, name) for name in NETWORKS]
    report = QuantizationReport(
        scheme=_SCHEME,
        precision={plan.network.name: _precision(plan) for plan in final},
        layers=tuple(_layer_reports(final, written, judgement.layer_errors)),
        calibration=ranges.report,
        activations=ranges.activations,
        measure=judgement.measure,
        variants=judgement.variants,
        frontier=judgement.frontier,
        evaluation_skipped=dict(judgement.skipped),
        notes=tuple(_notes(final, ranges, judgement, workspace.options)),
    )
    write_page(workspace.folder / PAGE_FILE, report, workspace.bundle.manifest)
    return report


@dataclass(frozen=True)
class _Judgement:
    """What the evaluation found; empty if there was none.

    Attributes:
      plans: What passed the gate; empty if there was no gate.
      newly_empty: Recordings in which only the result finds nothing.
    """

    plans: list[NetworkPlan] = field(default_factory=list)
    measure: str | None = None
    variants: tuple[VariantReport, ...] = ()
    frontier: tuple[VariantReport, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    newly_empty: tuple[str, ...] = ()
    layer_errors: Mapping[tuple[str, str], float] = field(default_factory=dict)


class _QuantizationJob:
    """One run: the source, what shall become of it, and how well that does."""

    def __init__(self, workspace: QuantizationWorkspace) -> None:
        self._options: Int8Options = workspace.options
        self._source: OpenedBundle = workspace.bundle
        self._scratch = workspace.scratch
        self._progress = workspace.progress
        self._jobs = self._options.num_workers or os.cpu_count() or 1
        networks = [NetworkFiles.open(self._source.path, name) for name in NETWORKS]
        self.plans = make_plans(
            networks,
            self._options.layer_types,
            resolve_kept(self._options.keep_fp16, networks),
            assign_tables(self._options.table, networks),
        )
        if not any(plan.int8 for plan in self.plans):
            raise ConfigError(
                "no layer is left to quantize", fix="keep fewer layers, or name more layer types"
            )

    def ranges(self) -> Ranges:
        """Ranges of the inputs for which a table gives none."""
        options = self._options
        missing = [
            plan for plan in self.plans if not plan.watched.keys() <= plan.table.inputs.keys()
        ]
        if options.table and not missing:
            return Ranges(CalibrationReport("table"))
        if options.calibration:
            recordings = find_recordings(options.calibration)
            return ranges_of_recordings(
                self._source,
                self.plans,
                recordings,
                options.method,
                jobs=min(self._jobs, len(recordings)),
                progress=self._progress,
            )
        return ranges_of_golden(
            self._source, missing, options.method, self._scratch, self._progress
        )

    def judge(self, planned: list[NetworkPlan]) -> _Judgement:
        """Measure error rates, and hold layers back if a limit is set and not kept."""
        options = self._options
        if not (options.judged_on or options.reference):
            return _Judgement()
        recordings = find_with_references(options.judged_on, options.reference)
        name = "/".join(dict.fromkeys(self._source.manifest.precision.values()))
        jobs = min(self._jobs, len(recordings))
        judge = Judge.of(self._source, name, recordings, jobs, self._progress)
        variants = [judge.baseline]
        if name != "fp16":
            variants.append(judge.variant("fp16", self._fp16))
        errors = layer_errors(self._source, planned, self._fp16, self._scratch, self._progress)
        ranking = sorted(errors, key=lambda layer: errors[layer], reverse=True)
        plans: list[NetworkPlan] = []
        frontier: list[VariantReport] = []
        if options.max_wer_increase is None:
            folder = write_variant(self._source, planned, self._scratch / _SCHEME)
            final = judge.variant(_SCHEME, folder)
        else:
            plans, final, frontier = find_passing(
                judge, planned, ranking, options.max_wer_increase, self._scratch
            )
        return _Judgement(
            plans,
            judge.measure,
            (*variants, final),
            tuple(frontier),
            judge.skipped,
            tuple(judge.newly_empty(final)),
            errors,
        )

    @cached_property
    def _fp16(self) -> Path:
        return write_variant(self._source, all_fp16(self.plans), self._scratch / "fp16")


def _precision(plan: NetworkPlan) -> str:
    return _SCHEME if plan.int8 else "fp16"


def _layer_reports(
    plans: list[NetworkPlan],
    written: list[NetworkFiles],
    errors: Mapping[tuple[str, str], float],
) -> Iterator[LayerReport]:
    for plan, result in zip(plans, written, strict=True):
        network = plan.network
        for name, layer in network.layers.items():
            yield LayerReport(
                network=network.name,
                layer=name,
                type=layer.type,
                precision=result.precision(name),
                reason=plan.reasons.get(name) or _why_int8(plan, name),
                parameters=network.parameters(name),
                bytes_before=network.size(name),
                bytes_after=result.size(name),
                output_error=errors.get((network.name, name)),
            )


def _why_int8(plan: NetworkPlan, name: str) -> str:
    layer = plan.network.layers[name]
    if layer.type == "LSTM":
        return "input and recurrent weights; the projection stays fp16"
    if takes_fixed_range(layer):
        return f"its input is clipped at {127 / plan.table.inputs[name]:.4g}"
    if layer.type == "Embed":
        return "a table of weights, nothing is multiplied"
    return "the range of each input vector is measured when it runs"


def _notes(
    plans: list[NetworkPlan], ranges: Ranges, judgement: _Judgement, options: Int8Options
) -> Iterator[str]:
    if ranges.report.source == "golden recording":
        layers = ", ".join(name for plan in plans for name in plan.watched)
        yield (
            f"the input ranges of {layers} come from the {ranges.report.audio_seconds:.1f} s "
            "recording in the bundle; --calibration takes more"
        )
    if judgement.variants and options.calibration and options.judged_on == options.calibration:
        yield "the error rate is that of the calibration recordings; --evaluation takes others"
    if not any(plan.int8 for plan in plans):
        yield "the accuracy gate left no layer to int8: the result is an fp16 bundle"
    if judgement.newly_empty:
        names = ", ".join(judgement.newly_empty[:5])
        yield (
            f"the int8 model finds nothing in {len(judgement.newly_empty)} recordings in which "
            f"the source finds words: {names}"
        )
