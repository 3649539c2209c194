"""The report of a quantization as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calve.common.files import atomic_file
from calve.common.pages import HtmlTable, render_page
from calve.common.printable import size_text
from calve.protocols import LayerReport, QuantizationReport, VariantReport
from calve.protocols.bundles import BundleManifest
from calve_ncnn.int8.drawings import bars, histogram, scatter

__all__ = ["PAGE_FILE", "write_page"]

PAGE_FILE = "quantization.html"

_MIB = 1024 * 1024

_GUIDE_PARAMETERS = 84_176_356
_GUIDE_SIZES = (
    ("encoder .pt", "318 MB"),
    ("encoder .bin, fp32", "317 MB"),
    ("encoder .bin, fp16", "159 MB"),
    ("encoder .bin, int8 by ncnn's tools", "218 MB"),
    ("decoder .bin, fp16", "503 KB"),
    ("joiner .bin, fp32", "3.0 MB"),
    ("joiner .bin, fp16", "1.5 MB"),
    ("joiner .bin, int8 by ncnn's tools", "774 KB"),
)
"""As icefall's documentation gives them for its LSTM transducer of this many parameters."""

_LAYER_COLUMNS = ("network", "layer", "type", "parameters", "before", "after", "", "error", "why")


def write_page(path: Path, report: QuantizationReport, manifest: BundleManifest) -> None:
    """Write the page of a quantized ncnn bundle.

    Args:
      path: The file to write.
      report: The report to show.
      manifest: Of the source bundle.
    """
    content = render_page(
        "calve_ncnn.int8",
        "quantization.html",
        title=f"int8: {manifest.recipe}",
        origin=_origin(report, manifest),
        figures=_figures(report),
        notes=_notes(report),
        networks=_networks(report),
        guide=_guide(manifest),
        layers=HtmlTable(_LAYER_COLUMNS, [_layer_cells(layer) for layer in report.layers]),
        layers_chart=bars(
            [(one.layer, one.bytes_before, one.bytes_after, one.precision) for one in report.layers]
        ),
        ranges=[
            (
                f"{one.network}/{one.layer}: {one.threshold:.4g} of {one.absmax:.4g}",
                histogram(one.counts, one.threshold, one.absmax),
            )
            for one in report.activations
        ],
        **_accuracy(report),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(f"{content}\n", encoding="utf-8")


def _origin(report: QuantizationReport, manifest: BundleManifest) -> str:
    precisions = "/".join(dict.fromkeys(manifest.precision.values()))
    return (
        f"{manifest.parameters.get('total', 0):,} parameters · quantized from {precisions} · "
        f"ranges from {_ranges_text(report)}"
    )


def _figures(report: QuantizationReport) -> list[tuple[str, str]]:
    before = sum(layer.bytes_before for layer in report.layers)
    after = sum(layer.bytes_after for layer in report.layers)
    int8 = sum(layer.parameters for layer in report.layers if layer.precision == "int8")
    total = sum(layer.parameters for layer in report.layers)
    figures = [
        (size_text(after), f"all weights; {size_text(before)} before"),
        (f"{100 * int8 / total:.1f} %", "of the parameters are in int8 layers"),
    ]
    if report.variants:
        first, last = report.variants[0], report.variants[-1]
        figures.append((_rate(last), f"{report.measure}; {_rate(first)} for {first.name}"))
        figures.append((f"{last.rtf:.3f}", f"real-time factor; {first.rtf:.3f} for {first.name}"))
    return figures


def _notes(report: QuantizationReport) -> list[str]:
    skipped = report.calibration.skipped | report.evaluation_skipped
    return [*report.notes, *(f"skipped {path}: {reason}" for path, reason in skipped.items())]


def _accuracy(report: QuantizationReport) -> dict[str, Any]:
    """What the page shows of accuracy and speed; nothing where nothing was measured."""
    columns = ("variant", "size", f"{report.measure} %", "errors", "empty answers", "RTF")
    frontier = report.frontier if report.variants else ()
    points = [(one.size / _MIB, one.error_rate or 0.0, one.name) for one in frontier]
    return {
        "measure": _measure_text(report),
        "variants": _variants(columns, report.variants),
        "frontier": _variants(columns, frontier),
        "frontier_chart": scatter(points, "MB", f"{report.measure} %") if points else None,
    }


def _variants(columns: Sequence[str], variants: Sequence[VariantReport]) -> HtmlTable | None:
    return HtmlTable(columns, [_variant_cells(one) for one in variants]) if variants else None


def _variant_cells(variant: VariantReport) -> Sequence[str]:
    return (
        variant.name,
        size_text(variant.size),
        "–" if variant.error_rate is None else f"{variant.error_rate:.2f}",
        f"{variant.errors} of {variant.reference_words}",
        str(len(variant.empty)),
        f"{variant.rtf:.4f}",
    )


def _networks(report: QuantizationReport) -> HtmlTable:
    rows = []
    for network in report.precision:
        layers = [layer for layer in report.layers if layer.network == network]
        before = sum(layer.bytes_before for layer in layers)
        after = sum(layer.bytes_after for layer in layers)
        share = f"{100 * after / before:.0f} %" if before else "–"
        rows.append(
            (network, report.precision[network], size_text(before), size_text(after), share)
        )
    return HtmlTable(("network", "precision", "before", "after", "of it"), rows)


def _guide(manifest: BundleManifest) -> HtmlTable | None:
    """The sizes in icefall's documentation, beside a model of the same architecture."""
    if manifest.parameters.get("total") != _GUIDE_PARAMETERS:
        return None
    return HtmlTable(("file", "size"), _GUIDE_SIZES)


def _layer_cells(layer: LayerReport) -> Sequence[str]:
    return (
        layer.network,
        layer.layer,
        layer.type,
        f"{layer.parameters:,}",
        size_text(layer.bytes_before),
        size_text(layer.bytes_after),
        layer.precision,
        "–" if layer.output_error is None else f"{layer.output_error:.5f}",
        layer.reason,
    )


def _ranges_text(report: QuantizationReport) -> str:
    calibration = report.calibration
    if calibration.recordings:
        plural = "s" if calibration.recordings > 1 else ""
        return (
            f"{calibration.recordings} recording{plural} ({calibration.audio_seconds:.1f} s, "
            f"{calibration.method})"
        )
    return {"table": "a given table", "none": "nothing (none is fixed)"}[calibration.source]


def _measure_text(report: QuantizationReport) -> str:
    if report.measure == "WER":
        return "Word error rate against the transcripts; greedy search, one thread per process."
    return "No transcripts were given: errors are differences from the source bundle's tokens."


def _rate(variant: VariantReport) -> str:
    return "–" if variant.error_rate is None else f"{variant.error_rate:.2f} %"
