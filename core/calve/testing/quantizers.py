"""Conformance tests of quantizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest, mock

import numpy as np

from calve.bundles.bundle import GOLDEN_FILE, Bundle, record_files
from calve.bundles.golden import Golden
from calve.common.references import LazyRef
from calve.errors import CalveError, ExportError
from calve.exporting.quantization import quantize
from calve.exporting.verification import FAILED, check_bundle, check_client
from calve.protocols import QuantizationReport, QuantizationWorkspace, Quantizer
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients
from calve.registry.specs import QuantizerSpec
from calve.testing.checks import (
    check_light_import,
    check_options,
    check_registered_once,
    names_of,
    require,
)
from calve.testing.folders import leaving_nothing_behind, temporary_folder
from calve.testing.trials import (
    kept_bundle,
    recipe_for,
    weight_files,
    working_copy,
)

__all__ = ["QuantizerConformance"]


_REFUSAL = "refused on purpose"


@dataclass(frozen=True)
class _Refusing(LazyRef):
    """A reference to a quantizer that fails when its work is done."""

    def load(self) -> Quantizer:
        quantizer: Quantizer = super().load()

        def refuse(workspace: QuantizationWorkspace) -> QuantizationReport:
            quantizer(workspace)
            raise ExportError(_REFUSAL)

        return refuse


class QuantizerConformance:
    """Tests of a quantizer, on a bundle of a very small model.

    Attributes:
      format: Format of the source bundles.
      scheme: Name of the scheme.
      recipe: A recipe whose encoder supports the format; by default the first registered one.
      options: Options of the scheme, including recordings if it needs any.
      largest_error: Largest accepted error of the encoder's output, relative to its root mean
        square.
    """

    format: ClassVar[str]
    scheme: ClassVar[str]
    recipe: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    largest_error: ClassVar[float] = 0.1

    def test_its_name_is_its_own(self) -> None:
        check_registered_once(registry().quantizers, (self.format, self.scheme))
        check_registered_once(registry().exporters, self.format)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        source = registry().quantizers.source((self.format, self.scheme))
        options = self._spec().options
        check_light_import(source.target, *([] if options is None else [options]))

    def test_its_options_explain_themselves(self) -> None:
        options = self._spec().options
        if options is None:
            raise SkipTest("it has no options")
        check_options(options.load())

    def test_it_needs_recordings_if_it_says_so_and_only_then(self) -> None:
        try:
            with self._quantized(self._source(), {}):
                pass
        except CalveError as error:
            require(
                self._spec().needs_calibration,
                f"without options it fails: {error.what}; say needs_calibration=True if it cannot "
                "do without recordings",
            )
        else:
            require(
                not self._spec().needs_calibration,
                "it says that it cannot do without recordings, and it can",
            )

    def test_the_result_is_verified(self) -> None:
        with self._quantized() as (bundle, _):
            for check in check_bundle(bundle):
                require(check.outcome != FAILED, f"{check.name}: {check.detail}")
            for client in claimed_clients(bundle.manifest.encoder, self.format):
                heard = check_client(bundle, client)
                require(heard.outcome != FAILED, f"{heard.name}: {heard.detail}")

    def test_the_result_is_smaller(self) -> None:
        source = self._source()
        kinds = {Path(name).suffix for name in weight_files(source)}
        with self._quantized() as (bundle, _):
            before, after = (_size(one, kinds) for one in (source, bundle))
        require(after < before, f"the networks take {after} bytes, and took {before}")

    def test_the_result_costs_little(self) -> None:
        with self._quantized() as (_, report):
            error = report.output_error
        require(
            error is not None and error <= self.largest_error,
            f"the encoder's output is off by {error:.2g} of its root mean square; "
            f"{self.largest_error} is allowed",
        )

    def test_every_layer_is_accounted_for(self) -> None:
        with self._quantized() as (bundle, report):
            manifest = bundle.manifest
        networks = {*self._source().manifest.precision}
        require(
            manifest.precision.keys() == networks and self.scheme in manifest.precision.values(),
            f"it reports the precision {manifest.precision}: each of {names_of(networks)} has one, "
            f"and the scheme is {self.scheme}",
        )
        for network, precision in manifest.precision.items():
            layers = [layer for layer in report.layers if layer.network == network]
            names = [layer.layer for layer in layers]
            require(
                bool(names) and len({*names}) == len(names),
                f"the {network} has the layers {', '.join(names) or 'none'}: each is reported once",
            )
            require(
                (precision == self.scheme) == any(one.precision == self.scheme for one in layers),
                f"the {network} is said to be {precision}, and its layers "
                f"{names_of({layer.precision for layer in layers})}",
            )
            for layer in layers:
                require(
                    bool(layer.reason) and layer.parameters > 0 and layer.bytes_after > 0,
                    f"of the layer {layer.layer} of the {network} it is not said what it holds, or "
                    f"why it is {layer.precision}",
                )

    def test_it_does_the_same_every_time(self) -> None:
        answers = []
        for _ in range(2):
            with self._quantized() as (bundle, _):
                answers.append(Golden.read(bundle.path / GOLDEN_FILE).observation)
        first, second = answers
        require(
            first.tokens == second.tokens
            and all(
                np.array_equal(first.outputs[name], second.outputs[name]) for name in first.outputs
            ),
            "the same bundle, quantized twice, gives two that answer differently",
        )

    def test_it_leaves_the_source_alone(self) -> None:
        with working_copy(self._source()) as source:
            before = record_files(source.path)
            with self._quantized(source):
                pass
            after = record_files(source.path)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        require(not changed, f"it changes the bundle that it is given: {names_of(changed)}")

    def test_it_writes_into_its_folder_alone(self) -> None:
        source = self._source()
        with leaving_nothing_behind() as target:
            self._run(source, target / "output", self.options)

    def test_one_that_fails_leaves_nothing(self) -> None:
        source, table = self._source(), registry().quantizers
        failing = replace(self._spec(), quantize=_Refusing(self._spec().quantize.target))
        others = table.get
        with leaving_nothing_behind() as target:
            with mock.patch.object(
                table,
                "get",
                lambda key: failing if key == (self.format, self.scheme) else others(key),
            ):
                try:
                    self._run(source, target / "output", self.options)
                except CalveError as error:
                    require(error.what == _REFUSAL, f"it fails: {error.what}")
            require(not (target / "output").exists(), "a failure leaves its output")

    def _spec(self) -> QuantizerSpec:
        return registry().quantizers.get((self.format, self.scheme))

    def _source(self) -> Bundle:
        """A bundle in the first precision of its format."""
        precision = next(iter(registry().exporters.get(self.format).precisions))
        return kept_bundle(recipe_for(self.format, self.recipe), self.format, precision)

    @contextmanager
    def _quantized(
        self, source: Bundle | None = None, options: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Bundle, QuantizationReport]]:
        """A quantized bundle and the report, there for the ``with`` block."""
        chosen = self.options if options is None else options
        with temporary_folder() as folder:
            report = self._run(source or self._source(), folder / "bundle", chosen)
            yield Bundle.open(folder / "bundle"), report

    def _run(self, source: Bundle, output: Path, options: Mapping[str, Any]) -> QuantizationReport:
        return quantize(source.path, output=output, scheme=self.scheme, **options)


def _size(bundle: Bundle, kinds: set[str]) -> int:
    """Bytes of the networks: of the files of these kinds."""
    return sum(
        bundle.manifest.files[name].size
        for name in weight_files(bundle)
        if Path(name).suffix in kinds
    )
