"""Conformance tests of export formats."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest, mock

from calve.bundles.bundle import GOLDEN_FILE, MANIFEST_FILE, TOKENS_FILE, Bundle
from calve.bundles.golden import Golden
from calve.bundles.observation import observe
from calve.common.config import resolve
from calve.common.diagnosis import Diagnosis
from calve.common.references import LazyRef
from calve.errors import CalveError, ConfigError, ExportError
from calve.exporting.parity import LIMITS, compare
from calve.exporting.verification import FAILED, PASSED, check_bundle, check_client
from calve.models.live import live_runtime
from calve.protocols import ExportWorkspace, Finding, MetadataStore
from calve.registry.catalog import registry
from calve.registry.claims import claimed_clients
from calve.registry.specs import ExporterSpec, ExportStepSpec
from calve.testing.checks import (
    check_light_import,
    check_options,
    check_registered_once,
    check_steps,
    fail,
    names_of,
    require,
)
from calve.testing.folders import leaving_nothing_behind, temporary_folder
from calve.testing.trials import (
    copy_of,
    export_tiny,
    kept_bundle,
    recipe_for,
    tiny_model,
    weight_files,
    working_copy,
)

__all__ = ["ExporterConformance"]

_NETWORKS = {"encoder", "decoder", "joiner"}
_REFUSAL = ExportStepSpec(
    "refuse", "fail on purpose", LazyRef("calve.testing.exporters:refuse_to_go_on")
)


class ExporterConformance:
    """Tests of an export format, on a very small model.

    Attributes:
      format: Name of the format.
      recipe: A recipe whose encoder supports the format; by default the first registered one. Its
        tiny model must be large enough that weights take most of the bytes.
    """

    format: ClassVar[str]
    recipe: ClassVar[str | None] = None

    # What calve knows without exporting.

    def test_its_name_is_its_own(self) -> None:
        check_registered_once(registry().exporters, self.format)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        source = registry().exporters.source(self.format)
        check_light_import(source.target, self._spec().options)

    def test_its_options_explain_themselves_and_fit_its_precisions(self) -> None:
        options = self._spec().options.load()
        check_options(options)
        unknown = self._spec().precisions.keys() - LIMITS.keys()
        require(
            not unknown and bool(self._spec().precisions),
            f"a precision is one of {names_of(LIMITS)}, not {names_of(unknown)}",
        )
        for name, chosen in self._spec().precisions.items():
            try:
                resolve(options, chosen)
            except ConfigError as error:
                fail(f"its options refuse {dict(chosen)}, which are to give {name}: {error.what}")

    def test_its_steps_have_names_of_their_own(self) -> None:
        check_steps("steps", self._spec().steps)

    def test_what_it_needs_can_be_installed(self) -> None:
        known = importlib.metadata.metadata("calve").get_all("Provides-Extra") or []
        needed = [self._spec().extra, *(client.extra for client in self._spec().clients)]
        unknown = {extra for extra in needed if extra is not None} - {*known}
        require(
            not unknown,
            f"calve has no extra {names_of(unknown)}, so nobody could install what is missing; it "
            f"has {names_of(known)}, and a distribution of its own requires what it needs",
        )

    # What it makes.

    def test_each_precision_is_what_it_says_and_is_verified(self) -> None:
        for precision in self._spec().precisions:
            manifest = self._bundle(precision).manifest
            require(
                manifest.precision.keys() == _NETWORKS and precision in manifest.precision.values(),
                f"exported in {precision}, it reports {manifest.precision}: each of "
                f"{names_of(_NETWORKS)} has a precision, and one of them this",
            )
            for check in check_bundle(self._bundle(precision)):
                require(check.outcome != FAILED, f"{precision}: {check.name}: {check.detail}")

    def test_it_answers_as_torch_does(self) -> None:
        model = tiny_model(self._recipe()).model
        reference = live_runtime(model).open(model, conventions=self._spec().conventions)
        for precision in self._spec().precisions:
            bundle = self._bundle(precision)
            golden = Golden.read(bundle.path / GOLDEN_FILE)
            geometry = bundle.manifest.geometry
            report = compare(
                observe(reference, golden.features, geometry),
                observe(bundle.open_streaming_session(), golden.features, geometry),
                precision=precision,
            )
            try:
                if precision == "int8":
                    report.check_quantized()
                else:
                    report.check()
            except ExportError as error:
                fail(f"{precision}: {error.what}")

    def test_it_is_for_whole_utterances_if_it_says_so(self) -> None:
        if not self._spec().offline:
            raise SkipTest(f"the format {self.format} is for streaming alone")
        with temporary_folder() as folder:
            bundle = self._export(folder / "offline", streaming=False)
            for check in check_bundle(bundle):
                require(
                    check.outcome != FAILED, f"in whole utterances, {check.name}: {check.detail}"
                )

    def test_other_precisions_take_fewer_bytes_than_fp32(self) -> None:
        if "fp32" not in self._spec().precisions:
            raise SkipTest("it has no fp32 to compare with")
        full = self._size("fp32")
        for precision in self._spec().precisions.keys() - {"fp32"}:
            size = self._size(precision)
            require(size < full, f"{precision} takes {size} bytes, and fp32 {full}")

    def test_a_bundle_is_whole_and_may_be_moved(self) -> None:
        with temporary_folder() as folder:
            made = self._export(folder / "made")
            moved = copy_of(made, folder / "moved")
            made.path.rename(folder / "away")
            links = [path.name for path in moved.path.rglob("*") if path.is_symlink()]
            require(not links, f"the bundle holds links: {names_of(links)}; copy what they name")
            for check in check_bundle(moved):
                require(check.outcome != FAILED, f"moved, {check.name} fails: {check.detail}")

    def test_it_writes_into_its_folder_alone(self) -> None:
        with leaving_nothing_behind() as target:
            self._export(target / "output")

    def test_an_export_that_fails_leaves_nothing(self) -> None:
        table = registry().exporters
        failing = replace(self._spec(), steps=(*self._spec().steps, _REFUSAL))
        others = table.get
        with leaving_nothing_behind() as target:
            with mock.patch.object(
                table, "get", lambda name: failing if name == self.format else others(name)
            ):
                try:
                    self._export(target / "output")
                except CalveError as error:
                    require(_REFUSAL.name in error.what, f"another step fails: {error.what}")
                else:
                    fail("a step fails, and the export goes on")
            require(not (target / "output").exists(), "a failed export leaves its output")

    # What is said of it.

    def test_lint_has_nothing_against_a_new_bundle(self) -> None:
        for runtime in (None, *self._runtimes()):
            with working_copy(self._bundle()) as bundle:
                errors = self._errors(bundle.path, runtime)
                require(not errors, f"for the runtime {runtime}, lint says: {_texts(errors)}")
                (bundle.path / MANIFEST_FILE).unlink()
                errors = self._errors(bundle.path, runtime)
                require(
                    not errors,
                    f"without {MANIFEST_FILE}, which others lack, lint says: {_texts(errors)}",
                )
                left = {path.name for path in bundle.path.iterdir()}
                require(left == {*bundle.manifest.files}, "lint writes into the bundle")

    def test_lint_finds_a_file_that_is_missing_or_damaged(self) -> None:
        for name in weight_files(self._bundle()):
            for damage in (Path.unlink, _empty):
                with working_copy(self._bundle()) as bundle:
                    damage(bundle.path / name)
                    errors = self._errors(bundle.path, None)
                require(bool(errors), f"lint has nothing against a bundle without {name}")
                vague = [one for one in errors if not (one.code and one.what and one.fix)]
                require(not vague, f"a finding needs a code, what is wrong and a fix: {vague}")

    def test_lint_refuses_a_runtime_that_it_does_not_know(self) -> None:
        try:
            self._lint(self._bundle().path, "no-such-runtime")
        except ConfigError:
            return
        fail("asked for a runtime that does not exist, lint raises no ConfigError")

    def test_its_metadata_are_read_as_they_were_written(self) -> None:
        if self._spec().metadata is None:
            raise SkipTest(f"the format {self.format} has no metadata")
        with working_copy(self._bundle()) as bundle, temporary_folder() as empty:
            store, table = self._store(), bundle.manifest.metadata
            require(store.recognizes(bundle.path), "it does not recognize its own bundle")
            require(not store.recognizes(empty), "it recognizes an empty folder")
            require(
                store.read(bundle.path) == table,
                f"{table} was stamped, and {store.read(bundle.path)} is read",
            )
            inferred = store.infer(bundle.path)
            require(
                inferred in (None, table), f"the files are taken for {inferred}, and hold {table}"
            )
            self._check_rewriting(store, bundle)

    def test_inspect_describes_its_networks_and_no_other_file(self) -> None:
        reference = self._spec().inspect
        if reference is None:
            raise SkipTest(f"the format {self.format} describes no files")
        inspect = reference.load()
        with working_copy(self._bundle()) as bundle:
            found = [inspect(bundle.path / name) for name in weight_files(bundle)]
            described = [one for one in found if one is not None]
            require(bool(described), "inspect knows no file of a new bundle")
            for one in described:
                require(next(iter(one), None) == "kind", f"the first key is not kind: {one}")
                _check_json(one)
            for name in (MANIFEST_FILE, TOKENS_FILE):
                require(inspect(bundle.path / name) is None, f"inspect takes {name} for a network")
            left = {path.name for path in bundle.path.iterdir()}
            require(left == {MANIFEST_FILE, *bundle.manifest.files}, "inspect writes a file")

    def test_doctor_names_a_fix_for_each_problem(self) -> None:
        reference = self._spec().doctor
        if reference is None:
            raise SkipTest(f"the format {self.format} has nothing to diagnose")
        for one in reference.load()():
            require(isinstance(one, Diagnosis), f"doctor gives {one!r}, not a Diagnosis")
            require(
                one.outcome in ("ok", "warn", "missing") and bool(one.subject and one.detail),
                f"a diagnosis needs a subject, an outcome and a detail: {one}",
            )
            require(one.outcome == "ok" or bool(one.fix), f"a diagnosis has no fix: {one}")

    def test_its_clients_hear_what_calve_hears(self) -> None:
        encoder = registry().recipes.get(self._recipe()).encoder
        checks = [
            check_client(self._bundle(), client) for client in claimed_clients(encoder, self.format)
        ]
        for check in checks:
            require(check.outcome != FAILED, f"{check.name}: {check.detail}")
        if not any(check.outcome == PASSED for check in checks):
            raise SkipTest("; ".join(check.detail for check in checks) or "it has no clients")

    def _spec(self) -> ExporterSpec:
        return registry().exporters.get(self.format)

    def _recipe(self) -> str:
        return recipe_for(self.format, self.recipe)

    def _bundle(self, precision: str | None = None) -> Bundle:
        first = next(iter(self._spec().precisions))
        return kept_bundle(self._recipe(), self.format, precision or first)

    def _export(self, output: Path, *, streaming: bool | None = None) -> Bundle:
        return export_tiny(self._recipe(), self.format, output, streaming=streaming)

    def _size(self, precision: str) -> int:
        bundle = self._bundle(precision)
        return sum(bundle.manifest.files[name].size for name in weight_files(bundle))

    def _runtimes(self) -> list[str]:
        """Names by which lint must know who is to run the bundle."""
        encoder = registry().recipes.get(self._recipe()).encoder
        claimed = claimed_clients(encoder, self.format)
        return [self._spec().runtime, *(client.name for client in claimed)]

    def _lint(self, folder: Path, runtime: str | None) -> list[Finding]:
        findings: list[Finding] = self._spec().lint.load()(folder, runtime)
        return findings

    def _errors(self, folder: Path, runtime: str | None) -> list[Finding]:
        return [one for one in self._lint(folder, runtime) if one.severity == "error"]

    def _store(self) -> MetadataStore:
        metadata = self._spec().metadata
        assert metadata is not None
        store: MetadataStore = metadata.load()
        return store

    def _check_rewriting(self, store: MetadataStore, bundle: Bundle) -> None:
        """Another table replaces the one that is there, or is refused."""
        table = bundle.manifest.metadata
        other = {
            key: value + 1 if isinstance(value, int) else value for key, value in table.items()
        }
        for written in (other, table):
            try:
                store.write(bundle.path, written)
            except ConfigError:
                require(written != table, f"it refuses to write {table}, which is there")
                continue
            found = store.read(bundle.path)
            require(found == written, f"{written} is written, and {found} is read")


def refuse_to_go_on(workspace: ExportWorkspace) -> None:
    """The export step that the kit lets fail."""
    raise OSError("refused on purpose")


def _empty(path: Path) -> None:
    # What a link names is not ours to empty.
    path.unlink()
    path.touch()


def _check_json(value: Mapping[str, Any]) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        fail(f"inspect gives a value that JSON does not have: {error}")


def _texts(findings: list[Finding]) -> str:
    return "; ".join(finding.what for finding in findings)
