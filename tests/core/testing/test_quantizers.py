"""Each check of the quantizer kit fails on a quantizer that is broken in just that way."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from calve.api import DataError, LazyRef
from calve.protocols import QuantizationReport, QuantizationWorkspace
from calve.registry.catalog import registry
from calve.testing import QuantizerConformance

pytestmark = pytest.mark.usefixtures("sound_plugin")

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]

KEY = ("state-dict", "rounded")
FILE = "pretrained.pt"

NAME = "its_name_is_its_own"
LIGHT = "importing_the_plugin_imports_nothing_heavy"
OPTIONS = "its_options_explain_themselves"
RECORDINGS = "it_needs_recordings_if_it_says_so_and_only_then"
VERIFIED = "the_result_is_verified"
SMALLER = "the_result_is_smaller"
COSTS = "the_result_costs_little"
LAYERS = "every_layer_is_accounted_for"
SAME = "it_does_the_same_every_time"
SOURCE = "it_leaves_the_source_alone"
ALONE = "it_writes_into_its_folder_alone"
NOTHING = "one_that_fails_leaves_nothing"


class Conformance(QuantizerConformance):
    format, scheme = KEY
    recipe = "sound_transducer"


class QuickConformance(Conformance):
    """Without imports in new processes."""

    test_importing_the_plugin_imports_nothing_heavy = None


def sound(workspace: QuantizationWorkspace) -> QuantizationReport:
    from acme_conformance.quantizer import quantize

    return quantize(workspace)


def rewrite(workspace: QuantizationWorkspace, change: Callable[[Any], Any]) -> None:
    weights = torch.load(workspace.folder / FILE, weights_only=True)["model"]
    changed = {name: change(weight) for name, weight in weights.items()}
    torch.save({"model": changed}, workspace.folder / FILE)


# Quantizers that do something else as well.


def keeps_every_byte(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    rewrite(workspace, lambda weight: weight.float())
    return report


def keeps_half_of_every_weight(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    rewrite(workspace, lambda weight: weight / 2)
    return report


_calls = itertools.count()


def never_does_the_same(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    factor = 1 + 1e-3 * next(_calls)
    rewrite(workspace, lambda weight: weight * factor)
    return report


def writes_into_the_source(workspace: QuantizationWorkspace) -> QuantizationReport:
    (workspace.bundle.path / "log.txt").write_text(str(next(_calls)))
    return sound(workspace)


def leaves_temporary_files(workspace: QuantizationWorkspace) -> QuantizationReport:
    tempfile.mkdtemp()
    return sound(workspace)


def writes_into_the_output_at_once(workspace: QuantizationWorkspace) -> QuantizationReport:
    (workspace.folder.parent / "output").mkdir(exist_ok=True)
    return sound(workspace)


def listens_all_the_same(workspace: QuantizationWorkspace) -> QuantizationReport:
    raise DataError("there are no recordings")


def adds_what_lint_refuses(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    weights = torch.load(workspace.folder / FILE, weights_only=True)["model"]
    torch.save(weights, workspace.folder / FILE)
    return report


def names_no_network(workspace: QuantizationWorkspace) -> QuantizationReport:
    return replace(sound(workspace), precision={"encoder": "rounded"})


def names_no_layer(workspace: QuantizationWorkspace) -> QuantizationReport:
    return replace(sound(workspace), layers=())


def names_a_layer_twice(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    return replace(report, layers=report.layers * 2)


def says_another_precision(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    return replace(report, layers=tuple(replace(one, precision="fp16") for one in report.layers))


def gives_no_reasons(workspace: QuantizationWorkspace) -> QuantizationReport:
    report = sound(workspace)
    return replace(report, layers=tuple(replace(one, reason="") for one in report.layers))


def test_a_sound_quantizer_passes_every_check(failures: Failures) -> None:
    assert failures(Conformance) == {}


@pytest.mark.parametrize(
    ("name", "says", "expected"),
    [
        ("keeps_every_byte", "the networks take", {SMALLER}),
        ("keeps_half_of_every_weight", "of its root mean square", {COSTS}),
        ("never_does_the_same", "quantized twice", {SAME}),
        ("writes_into_the_source", "log.txt", {SOURCE}),
        ("leaves_temporary_files", "among temporary files", {ALONE, NOTHING}),
        ("writes_into_the_output_at_once", "a failure leaves its output", {ALONE, NOTHING}),
        ("adds_what_lint_refuses", "holds no entry 'model'", {VERIFIED}),
        ("names_no_network", "each of decoder, encoder, joiner has one", {LAYERS}),
        ("names_no_layer", "has the layers none", {LAYERS}),
        ("names_a_layer_twice", "each is reported once", {LAYERS}),
        ("says_another_precision", "and its layers fp16", {LAYERS}),
        ("gives_no_reasons", "why it is rounded", {LAYERS}),
    ],
)
def test_a_broken_quantizer_fails_the_checks_of_what_is_broken(
    replaced: Replaced, failures: Failures, name: str, says: str, expected: set[str]
) -> None:
    replaced(registry().quantizers, KEY, quantize=LazyRef(f"{__name__}:{name}"))
    found = failures(QuickConformance)
    assert set(found) == expected, found
    assert any(says in message for message in found.values()), found


@dataclass(frozen=True)
class Silent:
    level: int = 3


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"options": "acme_conformance.heavy:SoundConfig"}, LIGHT, "imports torch"),
        ({"options": f"{__name__}:Silent"}, OPTIONS, "Silent.level has no help"),
        ({"quantize": f"{__name__}:listens_all_the_same"}, RECORDINGS, "needs_calibration=True"),
    ],
)
def test_a_broken_reference_fails_its_check(
    replaced: Replaced, failures: Failures, changes: dict[str, str], check: str, says: str
) -> None:
    references = {name: LazyRef(target) for name, target in changes.items()}
    replaced(registry().quantizers, KEY, **references)
    assert says in failures(Conformance, check)[check]


def test_one_that_says_it_needs_recordings_and_does_not_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().quantizers, KEY, needs_calibration=True)
    found = failures(QuickConformance)
    assert list(found) == [RECORDINGS]
    assert "cannot do without recordings, and it can" in found[RECORDINGS]


def test_a_scheme_that_nobody_registers_is_found(failures: Failures) -> None:
    class Absent(QuantizerConformance):
        format, scheme = "state-dict", "int3"

    assert "no plugin registers the quantizer" in failures(Absent, NAME)[NAME]
