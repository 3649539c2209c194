"""Each check of the exporter kit fails on a format that is broken in just that way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from calve.api import ConfigError, ExportStepSpec, LazyRef
from calve.bundles.bundle import MANIFEST_FILE
from calve.common.diagnosis import Diagnosis
from calve.protocols import ExportWorkspace, Finding
from calve.registry.catalog import registry
from calve.testing import ExporterConformance
from calve_onnx.metadata import OnnxMetadataStore
from calve_torchscript.layout import WEIGHTS_FILE
from calve_torchscript.lint import lint_weights
from calve_torchscript.steps import write_weights

pytestmark = pytest.mark.usefixtures("sound_plugin")

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]

NAME = "its_name_is_its_own"
LIGHT = "importing_the_plugin_imports_nothing_heavy"
OPTIONS = "its_options_explain_themselves_and_fit_its_precisions"
STEPS = "its_steps_have_names_of_their_own"
NEEDS = "what_it_needs_can_be_installed"
PRECISION = "each_precision_is_what_it_says_and_is_verified"
TORCH = "it_answers_as_torch_does"
OFFLINE = "it_is_for_whole_utterances_if_it_says_so"
SMALLER = "other_precisions_take_fewer_bytes_than_fp32"
WHOLE = "a_bundle_is_whole_and_may_be_moved"
ALONE = "it_writes_into_its_folder_alone"
NOTHING = "an_export_that_fails_leaves_nothing"
NEW = "lint_has_nothing_against_a_new_bundle"
DAMAGE = "lint_finds_a_file_that_is_missing_or_damaged"
UNKNOWN = "lint_refuses_a_runtime_that_it_does_not_know"
METADATA = "its_metadata_are_read_as_they_were_written"
INSPECT = "inspect_describes_its_networks_and_no_other_file"
DOCTOR = "doctor_names_a_fix_for_each_problem"
CLIENTS = "its_clients_hear_what_calve_hears"


class Conformance(ExporterConformance):
    format, recipe = "state-dict", "sound_transducer"


class QuickConformance(Conformance):
    """Without imports in new processes."""

    test_importing_the_plugin_imports_nothing_heavy = None


class OnnxConformance(ExporterConformance):
    format, recipe = "onnx", "sound_transducer"


def step(name: str, *, called: str = "write", summary: str = "write the weights") -> ExportStepSpec:
    return ExportStepSpec(called, summary, LazyRef(f"{__name__}:{name}"))


def test_a_sound_format_passes_every_check(failures: Failures) -> None:
    assert failures(Conformance) == {}


# Steps that break a promise after they wrote the weights.


def claims_another_precision(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    workspace.report["precision"] = dict.fromkeys(workspace.report["precision"], "fp16")


def forgets_a_network(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    workspace.report["precision"] = {"encoder": "fp32"}


def changes_the_model(workspace: ExportWorkspace) -> None:
    with torch.no_grad():
        for parameter in workspace.trained.parameters():
            parameter.mul_(0.9)
    write_weights(workspace)


def links_to_its_file(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    (workspace.folder / WEIGHTS_FILE).rename(workspace.folder / "weights.pt")
    (workspace.folder / WEIGHTS_FILE).symlink_to("weights.pt")


def writes_beside_its_folder(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    (workspace.folder.parent / "log.txt").write_text("done")


def writes_where_it_is_started(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    Path("debug.txt").write_text("done")


def leaves_temporary_files(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    tempfile.mkdtemp()


def writes_into_the_output_at_once(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    (workspace.folder.parent / "output").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("name", "says", "expected"),
    [
        ("claims_another_precision", "exported in fp32, it reports", {PRECISION}),
        ("forgets_a_network", "each of decoder, encoder, joiner", {PRECISION}),
        ("changes_the_model", "does not agree with torch", {TORCH}),
        ("links_to_its_file", "links: pretrained.pt", {WHOLE}),
        ("writes_beside_its_folder", "log.txt beside the output", {ALONE, NOTHING}),
        ("writes_where_it_is_started", "debug.txt in the working directory", {ALONE, NOTHING}),
        ("leaves_temporary_files", "among temporary files", {ALONE, NOTHING}),
        ("writes_into_the_output_at_once", "a failed export leaves its output", {ALONE, NOTHING}),
    ],
)
def test_a_broken_step_fails_the_checks_of_what_is_broken(
    replaced: Replaced,
    failures: Failures,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    says: str,
    expected: set[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # what a broken step writes there must not stay
    replaced(registry().exporters, "state-dict", steps=(step(name),))
    found = failures(QuickConformance)
    assert set(found) == expected, found
    assert any(says in message for message in found.values()), found


# What lint may do wrong.


def demands_the_manifest(folder: Path, runtime: str | None) -> list[Finding]:
    if not (folder / MANIFEST_FILE).exists():
        return [Finding("error", "manifest", str(folder), "there is no manifest", "export again")]
    return lint_weights(folder, runtime)


def writes_into_the_bundle(folder: Path, runtime: str | None) -> list[Finding]:
    (folder / "lint.txt").write_text("nothing found")
    return lint_weights(folder, runtime)


def refuses_its_own_runtime(folder: Path, runtime: str | None) -> list[Finding]:
    if runtime is not None:
        raise ConfigError(f"no runtime {runtime}")
    return lint_weights(folder, runtime)


def finds_nothing(folder: Path, runtime: str | None) -> list[Finding]:
    if runtime not in (None, "state-dict"):
        raise ConfigError(f"no runtime {runtime}")
    return []


def does_not_say_what_to_do(folder: Path, runtime: str | None) -> list[Finding]:
    found = lint_weights(folder, runtime)
    return [Finding(one.severity, one.code, one.where, one.what, "") for one in found]


def knows_every_runtime(folder: Path, runtime: str | None) -> list[Finding]:
    return lint_weights(folder, None)


@pytest.mark.parametrize(
    ("name", "says", "expected"),
    [
        ("demands_the_manifest", "without bundle.json", {NEW}),
        ("writes_into_the_bundle", "lint writes into the bundle", {NEW}),
        ("refuses_its_own_runtime", "no runtime state-dict", {NEW}),
        ("finds_nothing", "has nothing against a bundle without pretrained.pt", {DAMAGE}),
        ("does_not_say_what_to_do", "a code, what is wrong and a fix", {DAMAGE}),
        ("knows_every_runtime", "raises no ConfigError", {UNKNOWN}),
    ],
)
def test_a_broken_lint_fails_its_check_alone(
    replaced: Replaced, failures: Failures, name: str, says: str, expected: set[str]
) -> None:
    replaced(registry().exporters, "state-dict", lint=LazyRef(f"{__name__}:{name}"))
    found = failures(QuickConformance, "lint") | failures(QuickConformance, PRECISION)
    assert set(found) == expected
    assert any(says in message for message in found.values()), found


# What the descriptions for `calve inspect` and `calve doctor` may do wrong.


def describes_its_weights(path: Path) -> dict[str, Any] | None:
    return {"kind": "weights", "bytes": 12} if path.suffix == ".pt" else None


def knows_no_file(path: Path) -> None:
    return None


def knows_every_file(path: Path) -> dict[str, Any]:
    return {"kind": "weights"}


def does_not_say_what_it_is(path: Path) -> dict[str, Any] | None:
    return {"bytes": 12, "kind": "weights"} if path.suffix == ".pt" else None


def gives_a_path(path: Path) -> dict[str, Any] | None:
    return {"kind": "weights", "file": path} if path.suffix == ".pt" else None


def gives_nan(path: Path) -> dict[str, Any] | None:
    return {"kind": "weights", "mean": float("nan")} if path.suffix == ".pt" else None


def writes_its_notes(path: Path) -> dict[str, Any] | None:
    path.with_suffix(".notes").write_text("seen")
    return describes_its_weights(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("describes_its_weights", None),
        ("knows_no_file", "knows no file of a new bundle"),
        ("knows_every_file", "takes bundle.json for a network"),
        ("does_not_say_what_it_is", "the first key is not kind"),
        ("gives_a_path", "a value that JSON does not have"),
        ("gives_nan", "a value that JSON does not have"),
        ("writes_its_notes", "inspect writes a file"),
    ],
)
def test_a_broken_description_fails_its_check(
    replaced: Replaced, failures: Failures, name: str, says: str | None
) -> None:
    replaced(registry().exporters, "state-dict", inspect=LazyRef(f"{__name__}:{name}"))
    found = failures(QuickConformance, INSPECT)
    assert set(found) == (set() if says is None else {INSPECT})
    assert says is None or says in found[INSPECT]


def finds_all_well() -> list[Diagnosis]:
    return [Diagnosis("weights", "ok", "1.0")]


def names_no_fix() -> list[Diagnosis]:
    return [Diagnosis("weights", "warn", "too old")]


def says_nothing() -> list[Diagnosis]:
    return [Diagnosis("weights", "ok", "")]


def returns_text() -> list[str]:
    return ["all is well"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("finds_all_well", None),
        ("names_no_fix", "a diagnosis has no fix"),
        ("says_nothing", "needs a subject, an outcome and a detail"),
        ("returns_text", "not a Diagnosis"),
    ],
)
def test_a_broken_doctor_fails_its_check(
    replaced: Replaced, failures: Failures, name: str, says: str | None
) -> None:
    replaced(registry().exporters, "state-dict", doctor=LazyRef(f"{__name__}:{name}"))
    found = failures(QuickConformance, DOCTOR)
    assert set(found) == (set() if says is None else {DOCTOR})
    assert says is None or says in found[DOCTOR]


# What the spec itself may say wrong.


@dataclass(frozen=True)
class Silent:
    level: int = 3


@dataclass(frozen=True)
class Precision:
    precision: str = field(default="fp32", metadata={"help": "Precision of the weights."})


def writes_the_same_in_every_precision(workspace: ExportWorkspace) -> None:
    write_weights(workspace)
    networks = workspace.report["precision"]
    workspace.report["precision"] = dict.fromkeys(networks, workspace.options.precision)


def test_a_precision_that_saves_nothing_is_found(replaced: Replaced, failures: Failures) -> None:
    replaced(
        registry().exporters,
        "state-dict",
        options=LazyRef(f"{__name__}:Precision"),
        steps=(step("writes_the_same_in_every_precision"),),
        precisions={name: {"precision": name} for name in ("fp32", "fp16")},
    )
    found = failures(QuickConformance)
    assert list(found) == [SMALLER]
    assert "fp16 takes" in found[SMALLER]


def test_a_format_that_is_not_for_whole_utterances_as_it_says_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    assert failures(OnnxConformance, OFFLINE) == {}
    replaced(registry().exporters, "onnx", offline=True)
    says = "the runtime onnx cannot decode whole utterances"
    assert says in failures(OnnxConformance, OFFLINE)[OFFLINE]


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"options": LazyRef("acme_conformance.heavy:SoundConfig")}, LIGHT, "imports torch"),
        ({"options": LazyRef(f"{__name__}:Silent")}, OPTIONS, "Silent.level has no help"),
        ({"precisions": {"fp64": {}}}, OPTIONS, "not fp64"),
        ({"precisions": {}}, OPTIONS, "a precision is one of"),
        ({"precisions": {"fp32": {"fp17": True}}}, OPTIONS, "which are to give fp32"),
        ({"steps": ()}, STEPS, "it has no steps"),
        ({"steps": (step("math"),) * 2}, STEPS, "could not say which failed"),
        ({"steps": (step("math", called=" "),)}, STEPS, "could not say which failed"),
        ({"steps": (step("Path", summary=""),)}, STEPS, "the steps write have no summary"),
        ({"steps": (step("NAME"),)}, STEPS, "cannot be called"),
        ({"extra": "abacus"}, NEEDS, "calve has no extra abacus"),
    ],
)
def test_a_broken_spec_fails_its_check(
    replaced: Replaced, failures: Failures, changes: Mapping[str, Any], check: str, says: str
) -> None:
    replaced(registry().exporters, "state-dict", **changes)
    assert says in failures(Conformance, check)[check]


def test_a_format_that_is_not_registered_is_found(failures: Failures) -> None:
    class Absent(ExporterConformance):
        format = "no-such-format"

    assert "no plugin registers the export format" in failures(Absent, NAME)[NAME]


def test_a_format_that_no_encoder_claims_cannot_be_tried(failures: Failures) -> None:
    class Unclaimed(ExporterConformance):
        format, recipe = "ncnn", "sound_transducer"

    assert "'ncnn' is claimed for no encoder" in failures(Unclaimed, TORCH)[TORCH]


def test_a_format_may_claim_an_encoder_itself(replaced: Replaced, failures: Failures) -> None:
    replaced(registry().encoders, "sound", formats=())
    assert "is claimed for no encoder" in failures(QuickConformance, TORCH)[TORCH]
    replaced(registry().exporters, "state-dict", encoders=("sound",))
    assert failures(QuickConformance, TORCH) == {}


# Metadata and clients, which only some formats have.


class RecognizesAll(OnnxMetadataStore):
    def recognizes(self, bundle_dir: Path) -> bool:
        return True


class RecognizesNothing(OnnxMetadataStore):
    def recognizes(self, bundle_dir: Path) -> bool:
        return False


class ReadsTexts(OnnxMetadataStore):
    def read(self, bundle_dir: Path) -> dict[str, int | str] | None:
        return {key: str(value) for key, value in (super().read(bundle_dir) or {}).items()}


class InfersSomethingElse(OnnxMetadataStore):
    def infer(self, bundle_dir: Path) -> dict[str, int | str] | None:
        return {"dim": 17}


class KeepsWhatIsThere(OnnxMetadataStore):
    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        pass


class CannotRepeat(OnnxMetadataStore):
    def write(self, bundle_dir: Path, table: Mapping[str, int | str]) -> None:
        raise ConfigError("stamped already")


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("RecognizesAll", "recognizes an empty folder"),
        ("RecognizesNothing", "does not recognize its own bundle"),
        ("ReadsTexts", "{'dim': '16'} is read"),
        ("InfersSomethingElse", "the files are taken for {'dim': 17}"),
        ("KeepsWhatIsThere", "{'dim': 17} is written, and {'dim': 16} is read"),
        ("CannotRepeat", "refuses to write {'dim': 16}, which is there"),
    ],
)
def test_a_broken_metadata_store_is_found(
    replaced: Replaced, failures: Failures, store: str, says: str
) -> None:
    made = f"{__name__}:STORES"
    replaced(registry().exporters, "onnx", metadata=LazyRef(f"{made}.{store}"))
    assert says in failures(OnnxConformance, METADATA)[METADATA]


class STORES:
    """An instance of each; a reference names no item of a mapping."""


for _class in (
    *(RecognizesAll, RecognizesNothing, ReadsTexts),
    *(InfersSomethingElse, KeepsWhatIsThere, CannotRepeat),
):
    setattr(STORES, _class.__name__, _class())


def test_a_client_that_cannot_open_it_is_found(replaced: Replaced, failures: Failures) -> None:
    replaced(registry().metadata_writers, ("sound", "onnx"), clients=None)
    assert "sherpa-onnx" in failures(OnnxConformance, CLIENTS)[CLIENTS]
