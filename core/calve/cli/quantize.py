"""``calve quantize``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from calve.cli.options import dataclass_options, json_option, loadable_options, trust_option
from calve.cli.output import echo, print_json, print_table
from calve.common.printable import size_text
from calve.common.progress import console_progress
from calve.exporting.quantization import REPORT_FILE
from calve.exporting.quantization import quantize as quantize_bundle
from calve.protocols import QuantizationReport, VariantReport
from calve.registry.catalog import registry

__all__ = ["quantize"]


def _all_options() -> list[type]:
    quantizers = registry().quantizers
    options = {f"{one.scheme} of {one.format}": one.options for one in quantizers}
    return loadable_options("scheme", options)


@click.command("quantize")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Bundle to create.")
@click.option("--scheme", default="int8", show_default=True, help="A registered scheme.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@dataclass_options(*_all_options())
@trust_option
@json_option
def quantize(
    bundle: Path,
    output: Path,
    scheme: str,
    overwrite: bool,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Make BUNDLE smaller and faster, and measure what that costs.

    Without --calibration the recording kept in the bundle sets the few ranges that must be fixed
    beforehand. With --evaluation the error rate before and after is measured, and
    --max-wer-increase keeps the most sensitive layers in fp16 until it is small enough.
    """
    report = quantize_bundle(
        bundle,
        output=output,
        scheme=scheme,
        overwrite=overwrite,
        progress=console_progress(),
        **options,
    )
    for path, reason in (report.calibration.skipped | report.evaluation_skipped).items():
        echo(f"skipped {path}: {reason}", err=True)
    for note in report.notes:
        echo(f"note: {note}", err=True)
    if as_json:
        print_json(report.to_json(), indent=2)
    else:
        _print_sizes(report)
        _print_variants(report)
        echo(f"\n{output}: see {REPORT_FILE} in it for every layer")


def _print_sizes(report: QuantizationReport) -> None:
    before: dict[str, int] = defaultdict(int)
    after: dict[str, int] = defaultdict(int)
    quantized: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for layer in report.layers:
        before[layer.network] += layer.bytes_before
        after[layer.network] += layer.bytes_after
        total[layer.network] += 1
        quantized[layer.network] += layer.precision == report.scheme
    rows = [
        [
            network,
            precision,
            size_text(before[network]),
            size_text(after[network]),
            f"{quantized[network]} of {total[network]}",
        ]
        for network, precision in report.precision.items()
    ]
    print_table(["network", "precision", "before", "after", f"{report.scheme} layers"], rows)
    if report.output_error is not None:
        echo(f"\nrelative rms error of the encoder's output: {report.output_error:.4f}")


def _print_variants(report: QuantizationReport) -> None:
    for title, variants in (("", report.variants), ("frontier", report.frontier)):
        if not variants:
            continue
        echo(f"\n{title}".rstrip())
        columns = ["variant", "size", f"{report.measure} %", "errors", "empty", "RTF"]
        print_table(columns, [_variant_row(variant) for variant in variants])


def _variant_row(variant: VariantReport) -> list[object]:
    rate = None if variant.error_rate is None else f"{variant.error_rate:.2f}"
    errors = f"{variant.errors}/{variant.reference_words}"
    size = size_text(variant.size)
    return [variant.name, size, rate, errors, len(variant.empty), f"{variant.rtf:.4f}"]
