"""Quantization of a bundle, with a report on the loss of accuracy."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from calve.bundles.bundle import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    TOKENS_FILE,
    Bundle,
    record_files,
    write_manifest,
)
from calve.bundles.golden import Golden
from calve.bundles.trial import mark_tried, try_bundle
from calve.common.config import resolve
from calve.common.files import atomic_dir, atomic_file, file_sha256, scratch_folder
from calve.common.paths import check_native_path
from calve.common.progress import NO_PROGRESS, Progress
from calve.errors import BundleError, ConfigError, PluginError
from calve.exporting.golden import observe_again
from calve.exporting.parity import compare
from calve.protocols import QuantizationReport, QuantizationWorkspace, Quantizer
from calve.protocols.bundles import BundleManifest
from calve.registry.catalog import registry
from calve.registry.specs import QuantizerSpec

__all__ = [
    "REPORT_FILE",
    "quantize",
]

REPORT_FILE = "quantization.json"


def quantize(
    bundle: str | PathLike[str],
    *,
    output: str | PathLike[str],
    scheme: str = "int8",
    overwrite: bool = False,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> QuantizationReport:
    """Quantize a bundle; the result is a bundle of the same format.

    The result is written whole or not at all. On any error, including Ctrl-C, ``output`` stays
    unchanged.

    Args:
      bundle: The bundle's directory.
      output: Directory to create.
      scheme: Name of a quantization scheme for the bundle's format.
      overwrite: Whether to replace ``output`` if it exists.
      progress: Shows the progress.
      **options: The scheme's options, as ``calve quantize --help`` lists them.

    Raises:
      BundleError: if the bundle cannot be opened, is damaged, or is already quantized.
      ConfigError: if ``output`` exists, or an option is wrong.
      DataError: if recordings or transcripts cannot be used.
      ExportError: if the result is not accurate enough.
      PluginError: if no plugin provides the scheme for the bundle's format.
    """
    source = Bundle.open(bundle)
    spec = _quantizer(source, scheme)
    if spec.scheme in source.manifest.precision.values():
        raise BundleError(
            f"the bundle is {scheme} already",
            where=source.path,
            fix="quantize the fp32 or fp16 bundle that it was made from",
        )
    if os.path.realpath(output) == os.path.realpath(source.path):
        raise ConfigError("the output is the bundle itself", where=output, fix="name another")
    check_native_path(output, ConfigError)
    source.verify_files()
    try_bundle(source)
    quantizer: Quantizer = spec.quantize.load()
    with (
        atomic_dir(Path(output), overwrite=overwrite) as folder,
        scratch_folder("calve-quantize-") as scratch,
    ):
        shutil.copy(source.path / TOKENS_FILE, folder / TOKENS_FILE)
        workspace = QuantizationWorkspace(
            source, _options(spec, options), folder, scratch, progress
        )
        report = _finish(source, quantizer(workspace), folder)
    mark_tried(Bundle.open(output))
    return report


def _quantizer(source: Bundle, scheme: str) -> QuantizerSpec:
    formats = [of_format for of_format, name in registry().quantizers.names() if name == scheme]
    if formats and source.manifest.format not in formats:
        raise PluginError(
            f"no plugin quantizes {source.manifest.format} bundles to {scheme}",
            where=source.path,
            fix=f"export the checkpoint to {' or '.join(formats)} and quantize that bundle",
        )
    return registry().quantizers.get((source.manifest.format, scheme))


def _options(spec: QuantizerSpec, given: dict[str, Any]) -> Any:
    if spec.options is not None:
        return resolve(spec.options.load(), given)
    if given:
        raise ConfigError(f"the scheme {spec.scheme} takes no options, not {', '.join(given)}")
    return None


def _finish(source: Bundle, report: QuantizationReport, folder: Path) -> QuantizationReport:
    """Check the result on the golden recording, write new golden data, then the manifest."""
    manifest = _manifest(source, report)
    golden = Golden.read(source.path / GOLDEN_FILE)
    observation = observe_again(golden, Bundle(folder, manifest).open_session(), manifest.geometry)
    parity = compare(golden.observation, observation, precision=report.scheme)
    parity.check_quantized()
    replace(golden, observation=observation).write(folder / GOLDEN_FILE)
    report = replace(
        report,
        output_error=_relative_error(
            golden.observation.outputs["encoder_out"], observation.outputs["encoder_out"]
        ),
    )
    with atomic_file(folder / REPORT_FILE) as temporary:
        temporary.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    write_manifest(folder, replace(manifest, parity=parity.to_json(), files=record_files(folder)))
    return report


def _manifest(source: Bundle, report: QuantizationReport) -> BundleManifest:
    origin = {
        "scheme": report.scheme,
        "source_manifest_sha256": file_sha256(source.path / MANIFEST_FILE),
        "source_precision": source.manifest.precision,
        "source_files": {name: file.sha256 for name, file in source.manifest.files.items()},
        "calibration": asdict(report.calibration),
    }
    layers = {
        network: {
            layer.layer: layer.precision for layer in report.layers if layer.network == network
        }
        for network in report.precision
    }
    return replace(
        source.manifest,
        precision=report.precision,
        provenance=source.manifest.provenance | {"quantization": origin},
        steps=source.manifest.steps | {"layer_precision": layers},
        files={},
    )


def _relative_error(expected: Any, actual: Any) -> float:
    peak = float(np.sqrt(np.square(expected, dtype=np.float64).mean()))
    error = np.subtract(actual, expected, dtype=np.float64)
    return float(np.sqrt(np.square(error).mean())) / peak if peak else 0.0
