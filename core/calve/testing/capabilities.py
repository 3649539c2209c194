"""The capability matrix, measured by running every combination.

A *cell* is a recipe, an export format, a mode (streaming; or offline, for whole utterances), a
precision of the weights and a runtime: calve's own or a client of another project. For
each cell, a tiny random model of the recipe is exported (or quantized), compared with torch and
verified, and the runtime transcribes with it. Every cell is tried, claimed or not. Claim and
outcome must agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calve.bundles.bundle import Bundle
from calve.common.exceptions import describe
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.errors import CalveError, ExportError
from calve.exporting.export import export_unclaimed
from calve.exporting.parity import LIMITS, ParityReport
from calve.exporting.quantization import quantize
from calve.exporting.request import ExportRequest
from calve.exporting.verification import FAILED, PASSED, SKIPPED, check_bundle, check_client
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients, claimed_formats
from calve.registry.requirements import missing_for_extra
from calve.registry.specs import EncoderSpec, ExporterSpec
from calve.testing.tiny import TinyModel, make_tiny_model

__all__ = [
    "OFFLINE",
    "STREAMING",
    "Cell",
    "MatrixVariant",
    "capabilities",
    "runtimes_of",
    "variants",
]

STREAMING, OFFLINE = "streaming", "offline"


@dataclass(frozen=True)
class MatrixVariant:
    """One way to make a bundle of a recipe.

    Attributes:
      recipe: Name of the recipe.
      format: Name of the export format.
      precision: "fp32", "fp16", "int8" or the scheme of a quantizer.
      scheme: Scheme of the quantizer that makes it from another bundle; None if the exporter makes
        it.
      streaming: Whether the bundle is for streaming; otherwise for whole utterances.
    """

    recipe: str
    format: str
    precision: str
    scheme: str | None = None
    streaming: bool = True

    @property
    def encoder(self) -> EncoderSpec:
        """The recipe's encoder."""
        return registry().encoders.get(registry().recipes.get(self.recipe).encoder)

    @property
    def exporter(self) -> ExporterSpec:
        """The format's exporter."""
        return registry().exporters.get(self.format)

    @property
    def mode(self) -> str:
        """Whether it streams, in a word."""
        return STREAMING if self.streaming else OFFLINE

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Everything that opens it; all clients want to stream."""
        return runtimes_of(self.exporter) if self.streaming else (self.exporter.runtime,)

    def is_claimed(self, runtime: str) -> bool:
        """Whether the format is claimed for the encoder, and that the runtime opens it."""
        if self.format not in claimed_formats(self.encoder.name):
            return False
        known = [client.name for client in claimed_clients(self.encoder.name, self.format)]
        return runtime == self.exporter.runtime or runtime in known


@dataclass(frozen=True)
class Cell:
    """Result of one variant in one runtime.

    Attributes:
      recipe: Name of the recipe.
      format: Name of the export format.
      mode: "streaming" or, for whole utterances, "offline".
      precision: Precision of the weights.
      made_by: "export" or "quantize".
      runtime: Name of a driver of calve or of a client.
      claimed: Whether the encoder claims the combination.
      outcome: "passed", "failed" or "skipped" (something is not installed).
      detail: Details of the outcome.
      max_abs_error: Largest difference from torch, or from the source of a quantized bundle.
      tokens_equal: Whether greedy search found the same symbols as that reference.
    """

    recipe: str
    format: str
    mode: str
    precision: str
    made_by: str
    runtime: str
    claimed: bool
    outcome: str
    detail: str
    max_abs_error: float | None = None
    tokens_equal: bool | None = None

    @property
    def agrees(self) -> bool:
        """Whether claim and outcome agree; a skipped cell always agrees."""
        return self.outcome == SKIPPED or self.claimed == (self.outcome == PASSED)

    @property
    def complaint(self) -> str:
        """The problem of a cell that does not agree."""
        name = f"{self.recipe}, {self.mode} {self.format} {self.precision} in {self.runtime}"
        if self.claimed:
            return f"{name} is claimed and fails: {self.detail}"
        return f"{name} passes and is not claimed"

    def to_json(self) -> dict[str, Any]:
        """All attributes, and whether claim and outcome agree."""
        return asdict(self) | {"agrees": self.agrees}


def variants(
    recipes: Sequence[str] | None = None, formats: Sequence[str] | None = None
) -> list[MatrixVariant]:
    """List the variants of the recipes and formats; None means all registered ones.

    Raises:
      PluginError: if a name is not registered.
    """
    recipes = registry().recipes.names() if recipes is None else recipes
    chosen = registry().exporters.names() if formats is None else formats
    exporters = [registry().exporters.get(name) for name in chosen]
    return [
        variant
        for recipe in recipes
        for exporter in exporters
        for variant in _variants_of(registry().recipes.get(recipe).name, exporter)
    ]


def runtimes_of(exporter: ExporterSpec) -> tuple[str, ...]:
    """List the runtimes of a format: calve's driver, then the clients."""
    return (exporter.runtime, *(client.name for client in exporter.clients))


def capabilities(
    recipes: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
    *,
    tiny: Mapping[str, Any] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Cell]:
    """Fill the cells one by one; each takes some seconds.

    Args:
      recipes: Names of recipes, None for all.
      formats: Names of export formats, None for all.
      tiny: Options of the encoders of the tiny models, instead of those in their specs.
      progress: Shows the current variant.

    Raises:
      PluginError: if a name is not registered. Any other failure becomes a failed cell.
    """
    wanted = variants(recipes, formats)
    for recipe in dict.fromkeys(variant.recipe for variant in wanted):
        with tempfile.TemporaryDirectory(prefix="calve-matrix-") as folder:
            trial = _Trial(Path(folder), tiny)
            for variant in wanted:
                if variant.recipe == recipe:
                    title = f"{recipe}: {variant.format} {variant.precision}, {variant.mode}"
                    with tracked(progress, title):
                        yield from trial.cells(variant)


def _variants_of(recipe: str, exporter: ExporterSpec) -> Iterator[MatrixVariant]:
    for precision in exporter.precisions:
        yield MatrixVariant(recipe, exporter.format, precision)
        if exporter.offline:
            yield MatrixVariant(recipe, exporter.format, precision, streaming=False)
    for format_name, scheme in registry().quantizers.names():
        if format_name == exporter.format:
            yield MatrixVariant(recipe, exporter.format, scheme, scheme)


class _Trial:
    """Makes and tests the bundles of one recipe in a folder; keeps them for quantizers."""

    def __init__(self, folder: Path, tiny: Mapping[str, Any] | None) -> None:
        self._folder = folder
        self._tiny = tiny
        self._models: dict[bool, TinyModel] = {}
        self._bundles: dict[tuple[str, bool], list[Bundle]] = {}

    def cells(self, variant: MatrixVariant) -> Iterator[Cell]:
        """The cells of one variant, calve's own runtime first."""
        exporter = variant.exporter
        if exporter.extra is not None and (missing := missing_for_extra("calve", exporter.extra)):
            yield from _all(variant, SKIPPED, f"not installed: {' and '.join(missing)}")
            return
        try:
            bundle = self._make(variant)
            _check(bundle, variant.precision)
        # A plugin may fail in any way; all of them are outcomes here.
        except Exception as error:
            detail = str(error) if isinstance(error, CalveError) else describe(error)
            yield from _all(variant, FAILED, detail)
            return
        self._bundles.setdefault((variant.format, variant.streaming), []).append(bundle)
        yield _cell(variant, exporter.runtime, PASSED, "agrees with torch", bundle)
        for client in exporter.clients if variant.streaming else ():
            check = check_client(bundle, client)
            yield _cell(variant, client.name, check.outcome, check.detail)

    def _make(self, variant: MatrixVariant) -> Bundle:
        number = sum(map(len, self._bundles.values()))
        output = self._folder / f"{number}-{variant.format}-{variant.precision}"
        if variant.scheme is None:
            return self._export(variant, output)
        sources = self._bundles.get((variant.format, variant.streaming))
        if not sources:
            raise ExportError("there is no bundle to quantize: no export succeeded")
        quantize(sources[0].path, output=output, scheme=variant.scheme, overwrite=True)
        return Bundle.open(output)

    def _export(self, variant: MatrixVariant, output: Path) -> Bundle:
        model = self._model(variant)
        checkpoint, tokens = model.write(self._folder)
        return export_unclaimed(
            ExportRequest(
                recipe=variant.recipe,
                checkpoint=checkpoint,
                output=output,
                format=variant.format,
                tokens=tokens,
                overwrite=True,
                streaming=variant.streaming,
                overrides=model.options,
                options=variant.exporter.precisions[variant.precision],
            )
        )

    def _model(self, variant: MatrixVariant) -> TinyModel:
        """A model that streams, or one that cannot if the encoder has such."""
        if variant.streaming not in self._models:
            options = variant.encoder.tiny if self._tiny is None else self._tiny
            if not variant.streaming:
                options = {**options, **variant.encoder.tiny_offline}
            self._models[variant.streaming] = make_tiny_model(variant.recipe, options)
        return self._models[variant.streaming]


def _check(bundle: Bundle, precision: str) -> None:
    """Verify a new bundle.

    Raises:
      ExportError: if a check fails, or the weights have another precision than they should.
    """
    found = set(bundle.manifest.precision.values())
    if precision in LIMITS and precision not in found:
        raise ExportError(f"the weights are {' and '.join(sorted(found))}, not {precision}")
    for check in check_bundle(bundle):
        if check.outcome == FAILED:
            raise ExportError(f"{check.name}: {check.detail}")


def _all(variant: MatrixVariant, outcome: str, detail: str) -> list[Cell]:
    return [_cell(variant, runtime, outcome, detail) for runtime in variant.runtimes]


def _cell(
    variant: MatrixVariant, runtime: str, outcome: str, detail: str, bundle: Bundle | None = None
) -> Cell:
    parity = ParityReport.from_json(bundle.manifest.parity) if bundle is not None else None
    return Cell(
        recipe=variant.recipe,
        format=variant.format,
        mode=variant.mode,
        precision=variant.precision,
        made_by="export" if variant.scheme is None else "quantize",
        runtime=runtime,
        claimed=variant.is_claimed(runtime),
        outcome=outcome,
        detail=detail,
        max_abs_error=parity.max_abs_error if parity else None,
        tokens_equal=parity.tokens_equal if parity else None,
    )
