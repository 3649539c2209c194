"""What runs where, found out by running it.

A *cell* is a recipe, an export format, a precision of the weights and a runtime: calve's own or a
client of another project. To fill it, a tiny random model of the recipe is exported (or quantised),
compared with torch, verified, and transcribed with the runtime. Every cell is tried, whether the
encoder claims it or not; claim and outcome must agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calve.bundle import Bundle
from calve.claims import claimed_clients, claimed_formats
from calve.discovery import describe
from calve.errors import CalveError, ExportError
from calve.exporting import try_export
from calve.parity import LIMITS, ParityReport
from calve.progress import NO_PROGRESS
from calve.protocols import Progress
from calve.quantization import quantize
from calve.registry import registry
from calve.requirements import missing_for_extra
from calve.specs import ExporterSpec
from calve.tiny import TinyModel, make_tiny_model
from calve.verification import FAILED, PASSED, SKIPPED, check_bundle, check_client

__all__ = ["Cell", "Variant", "capabilities", "runtimes_of", "variants"]


@dataclass(frozen=True)
class Variant:
    """One way of making a bundle of a recipe.

    Attributes:
      recipe: Name of the recipe.
      format: Name of the export format.
      precision: "fp32", "fp16" or "int8", or another name that a quantiser gives its scheme.
      scheme: Name of the quantiser that makes it from another bundle; None if the exporter does.
    """

    recipe: str
    format: str
    precision: str
    scheme: str | None = None

    @property
    def encoder(self) -> str:
        """Name of the recipe's encoder."""
        return registry().recipes.get(self.recipe).encoder

    @property
    def exporter(self) -> ExporterSpec:
        """The format's exporter."""
        return registry().exporters.get(self.format)

    def is_claimed(self, runtime: str) -> bool:
        """Whether the format is claimed for the encoder, and that the runtime opens it."""
        if self.format not in claimed_formats(self.encoder):
            return False
        known = [client.name for client in claimed_clients(self.encoder, self.format)]
        return runtime == self.exporter.runtime or runtime in known


@dataclass(frozen=True)
class Cell:
    """What became of one variant in one runtime.

    Attributes:
      recipe: Name of the recipe.
      format: Name of the export format.
      precision: Of the weights.
      made_by: "export" or "quantize".
      runtime: Driver of calve or name of a client.
      claimed: Whether the encoder claims that it works.
      outcome: "passed", "failed" or "skipped" (something is not installed).
      detail: What was found.
      max_abs_error: Largest difference from torch, or from the source of a quantised bundle.
      tokens_equal: Whether greedy search found the same symbols as there.
    """

    recipe: str
    format: str
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
        """Whether the claim is true; what could not be tried is not held against it."""
        return self.outcome == SKIPPED or self.claimed == (self.outcome == PASSED)

    @property
    def complaint(self) -> str:
        """What is wrong with a cell that does not agree."""
        name = f"{self.recipe}, {self.format} {self.precision} in {self.runtime}"
        if self.claimed:
            return f"{name} is claimed and fails: {self.detail}"
        return f"{name} passes and is not claimed"

    def to_json(self) -> dict[str, Any]:
        """All attributes, and whether claim and outcome agree."""
        return asdict(self) | {"agrees": self.agrees}


def variants(
    recipes: Sequence[str] | None = None, formats: Sequence[str] | None = None
) -> list[Variant]:
    """Every way of making a bundle of the recipes in the formats; None means all registered.

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
    """Everything that opens a format: calve's driver, then the clients."""
    return (exporter.runtime, *(client.name for client in exporter.clients))


def capabilities(
    recipes: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
    *,
    tiny: Mapping[str, Any] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[Cell]:
    """Fill the cells, one after the other; takes some seconds for each.

    Args:
      recipes: Names of recipes, None for all.
      formats: Names of export formats, None for all.
      tiny: Options of the encoders of the tiny models, instead of those in their specs.
      progress: Says which variant is being tried.

    Raises:
      PluginError: if a name is not registered; whatever else goes wrong is a failed cell.
    """
    wanted = variants(recipes, formats)
    for recipe in dict.fromkeys(variant.recipe for variant in wanted):
        with tempfile.TemporaryDirectory(prefix="calve-matrix-") as folder:
            trial = _Trial(Path(folder), tiny)
            for variant in wanted:
                if variant.recipe == recipe:
                    progress.start(f"{recipe}: {variant.format} {variant.precision}")
                    yield from trial.cells(variant)
                    progress.finish()


def _variants_of(recipe: str, exporter: ExporterSpec) -> Iterator[Variant]:
    for precision in exporter.precisions:
        yield Variant(recipe, exporter.format, precision)
    for format_name, scheme in registry().quantizers.names():
        if format_name == exporter.format:
            yield Variant(recipe, exporter.format, scheme, scheme)


class _Trial:
    """Makes the bundles of one recipe in a folder and tries them; keeps them for quantisers."""

    def __init__(self, folder: Path, tiny: Mapping[str, Any] | None) -> None:
        self._folder = folder
        self._tiny = tiny
        self._model: TinyModel | None = None
        self._bundles: dict[str, list[Bundle]] = {}

    def cells(self, variant: Variant) -> Iterator[Cell]:
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
            detail = error.message if isinstance(error, CalveError) else describe(error)
            yield from _all(variant, FAILED, detail)
            return
        self._bundles.setdefault(variant.format, []).append(bundle)
        yield _cell(variant, exporter.runtime, PASSED, "agrees with torch", bundle)
        for client in exporter.clients:
            check = check_client(bundle, client)
            yield _cell(variant, client.name, check.outcome, check.detail)

    def _make(self, variant: Variant) -> Bundle:
        number = sum(map(len, self._bundles.values()))
        output = self._folder / f"{number}-{variant.format}-{variant.precision}"
        if variant.scheme is None:
            return self._export(variant, output)
        sources = self._bundles.get(variant.format)
        if not sources:
            raise ExportError("there is no bundle to quantise: no export succeeded")
        quantize(sources[0].path, output=output, scheme=variant.scheme, overwrite=True)
        return Bundle.open(output)

    def _export(self, variant: Variant, output: Path) -> Bundle:
        if self._model is None:
            self._model = make_tiny_model(variant.recipe, self._tiny)
        checkpoint, tokens = self._model.write(self._folder)
        options: Mapping[str, Any] = variant.exporter.precisions[variant.precision]
        return try_export(
            variant.recipe,
            checkpoint=checkpoint,
            tokens=tokens,
            output=output,
            format=variant.format,
            overwrite=True,
            overrides=self._model.options,
            **options,
        )


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


def _all(variant: Variant, outcome: str, detail: str) -> list[Cell]:
    return [_cell(variant, runtime, outcome, detail) for runtime in runtimes_of(variant.exporter)]


def _cell(
    variant: Variant, runtime: str, outcome: str, detail: str, bundle: Bundle | None = None
) -> Cell:
    parity = ParityReport.from_json(bundle.manifest.parity) if bundle is not None else None
    return Cell(
        recipe=variant.recipe,
        format=variant.format,
        precision=variant.precision,
        made_by="export" if variant.scheme is None else "quantize",
        runtime=runtime,
        claimed=variant.is_claimed(runtime),
        outcome=outcome,
        detail=detail,
        max_abs_error=parity.max_abs_error if parity else None,
        tokens_equal=parity.tokens_equal if parity else None,
    )
