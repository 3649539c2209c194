"""The report as one HTML page: no script, no other file, pictures drawn in SVG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from calve.common.files import atomic_file, size_text
from calve.protocols import ActivationReport, LayerReport, QuantizationReport, VariantReport
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

_STYLE = """
:root { --ink: #1b1f24; --soft: #5d6773; --line: #d5dae0; --paper: #fff; --card: #f5f7f9;
  --before: #aab4bf; --int8: #0b7a75; --kept: #c8641b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #353c44;
  --paper: #14171a; --card: #1d2226; --before: #59636e; --int8: #36b5ae; --kept: #e8924f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; } .soft, small { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; }
.card { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; }
.card b { display: block; font-size: 1.35rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.int8 { color: var(--int8); font-weight: 600; } .kept { color: var(--kept); font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; color: var(--soft); }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 11px; }
"""


def write_page(path: Path, report: QuantizationReport, manifest: BundleManifest) -> None:
    """Write the page of a quantized ncnn bundle.

    Args:
      path: Where.
      report: What it shows.
      manifest: Of the source bundle.
    """
    title = f"int8: {manifest.recipe}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{manifest.parameters.get("total", 0):,} parameters · quantized from '
        f"{escape('/'.join(dict.fromkeys(manifest.precision.values())))} · ranges from "
        f"{escape(_ranges_text(report))}</p>",
        *_cards(report),
        *_notes(report),
        *_variants(report),
        *_networks(report, manifest),
        *_layers(report.layers),
        *_activations(report.activations),
        "</body></html>\n",
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def _cards(report: QuantizationReport) -> Iterator[str]:
    before = sum(layer.bytes_before for layer in report.layers)
    after = sum(layer.bytes_after for layer in report.layers)
    int8 = sum(layer.parameters for layer in report.layers if layer.precision == "int8")
    total = sum(layer.parameters for layer in report.layers)
    cards = [
        (size_text(after), f"all weights; {size_text(before)} before"),
        (f"{100 * int8 / total:.1f} %", "of the parameters are in int8 layers"),
    ]
    if report.variants:
        first, last = report.variants[0], report.variants[-1]
        cards.append((_rate(last), f"{report.measure}; {_rate(first)} for {first.name}"))
        cards.append((f"{last.rtf:.3f}", f"real-time factor; {first.rtf:.3f} for {first.name}"))
    yield '<div class="cards">'
    for value, meaning in cards:
        yield f'<div class="card"><b>{escape(value)}</b><small>{escape(meaning)}</small></div>'
    yield "</div>"


def _notes(report: QuantizationReport) -> Iterator[str]:
    skipped = report.calibration.skipped | report.evaluation_skipped
    items = [*report.notes, *(f"skipped {path}: {reason}" for path, reason in skipped.items())]
    if items:
        yield "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _variants(report: QuantizationReport) -> Iterator[str]:
    if not report.variants:
        return
    yield f"<h2>Accuracy and speed</h2><p>{escape(_measure_text(report))}</p>"
    columns = ("variant", "size", f"{report.measure} %", "errors", "empty answers", "RTF")
    yield _table(columns, map(_variant_cells, report.variants))
    if report.frontier:
        yield "<h2>What the gate tried</h2>"
        yield _table(columns, map(_variant_cells, report.frontier))
        points = [(one.size / _MIB, one.error_rate or 0.0, one.name) for one in report.frontier]
        yield scatter(points, "MB", f"{report.measure} %")


def _variant_cells(variant: VariantReport) -> Sequence[str]:
    return (
        variant.name,
        size_text(variant.size),
        "–" if variant.error_rate is None else f"{variant.error_rate:.2f}",
        f"{variant.errors} of {variant.reference_words}",
        str(len(variant.empty)),
        f"{variant.rtf:.4f}",
    )


def _networks(report: QuantizationReport, manifest: BundleManifest) -> Iterator[str]:
    yield "<h2>Size by network</h2>"
    rows = []
    for network in report.precision:
        layers = [layer for layer in report.layers if layer.network == network]
        before = sum(layer.bytes_before for layer in layers)
        after = sum(layer.bytes_after for layer in layers)
        share = f"{100 * after / before:.0f} %" if before else "–"
        rows.append(
            (network, report.precision[network], size_text(before), size_text(after), share)
        )
    yield _table(("network", "precision", "before", "after", "of it"), rows)
    if manifest.parameters.get("total") == _GUIDE_PARAMETERS:
        yield "<p>icefall's documentation of the same architecture gives:</p>"
        yield _table(("file", "size"), _GUIDE_SIZES)


def _layers(layers: Sequence[LayerReport]) -> Iterator[str]:
    yield "<h2>Layer by layer</h2>"
    yield (
        "<p>Grey: bytes before. Colored: bytes after, "
        '<span class="int8">int8</span> or <span class="kept">left in fp16 or fp32</span>. '
        "The error is that of the network's output when this layer alone is int8, relative to "
        "the output.</p>"
    )
    yield bars([(one.layer, one.bytes_before, one.bytes_after, one.precision) for one in layers])
    columns = ("network", "layer", "type", "parameters", "before", "after", "", "error", "why")
    yield _table(columns, map(_layer_cells, layers))


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


def _activations(activations: Sequence[ActivationReport]) -> Iterator[str]:
    if not activations:
        return
    yield (
        "<h2>Fixed input ranges</h2><p>How large the inputs of these layers were, zeros left out; "
        "counts on a logarithmic scale. What lies right of the line is clipped.</p>"
    )
    yield '<div class="grid">'
    for one in activations:
        caption = f"{one.network}/{one.layer}: {one.threshold:.4g} of {one.absmax:.4g}"
        yield (
            f"<figure>{histogram(one.counts, one.threshold / one.absmax)}"
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    yield "</div>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [list(row) for row in rows]
    numeric = [
        bool(cells) and all(row[index][:1].isdigit() or row[index] == "–" for row in cells)
        for index in range(len(columns))
    ]
    head = "".join(_cell("th", name, right) for name, right in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(_cell("td", text, right) for text, right in zip(row, numeric, strict=True))
        + "</tr>"
        for row in cells
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cell(tag: str, text: str, right: bool) -> str:
    kind = "n" if right else "int8" if text == "int8" else ""
    return (
        f'<{tag} class="{kind}">{escape(text)}</{tag}>'
        if kind
        else f"<{tag}>{escape(text)}</{tag}>"
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
