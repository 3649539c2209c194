"""Each check of the metadata kit fails on a writer that is broken in just that way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from calve.api import LazyRef
from calve.registry.catalog import registry
from calve.testing import MetadataWriterConformance

pytestmark = pytest.mark.usefixtures("sound_plugin")

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]

KEY = ("sound", "onnx")
PURE = "its_table_is_a_pure_function_of_sizes"
STAMPED = "the_format_gives_back_what_was_stamped"
STATES = "it_names_every_state"
CLIENTS = "its_clients_are_those_of_the_format"
SAME = "its_arrangement_of_the_states_computes_the_same"
LIGHT = "importing_the_plugin_imports_nothing_heavy"
ONLY = "it_is_the_only_one_for_this_encoder_and_format"


class Conformance(MetadataWriterConformance):
    encoder, format, recipe = "sound", "onnx", "sound_transducer"


class QuickConformance(Conformance):
    """Without exports and imports in new processes."""

    test_importing_the_plugin_imports_nothing_heavy = None
    test_the_format_gives_back_what_was_stamped = None


_calls = itertools.count()


def counts_its_calls(config: Any, geometry: Any) -> dict[str, Any]:
    return {"calls": next(_calls)}


def writes_floats(config: Any, geometry: Any) -> dict[str, Any]:
    return {"dim": float(config.dim)}


def writes_truths(config: Any, geometry: Any) -> dict[str, Any]:
    return {"streaming": True}


def says_nothing(config: Any, geometry: Any) -> dict[str, Any]:
    return {}


def writes_what_is_read_as_a_number(config: Any, geometry: Any) -> dict[str, Any]:
    return {"model_type": "sound", "dim": str(config.dim)}


class Forgetful(nn.Module):
    """An arrangement that drops what the hidden state holds."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form
        self.geometry, self.feature_dim = form.geometry, form.feature_dim
        self.output_dim, self.state_batch_axis = form.output_dim, form.state_batch_axis
        self.init_states = form.init_states

    def stream(self, x: Any, x_lens: Any, states: Any) -> Any:
        y, y_lens, after = self.form.stream(x, x_lens, states)
        return y, y_lens, {name: 0 * state for name, state in after.items()}


def test_a_sound_writer_passes_every_check(failures: Failures) -> None:
    assert failures(Conformance) == {}


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"table": LazyRef(f"{__name__}:counts_its_calls")}, PURE, "asked twice"),
        ({"table": LazyRef(f"{__name__}:writes_floats")}, PURE, "not dim = 16.0"),
        ({"table": LazyRef(f"{__name__}:writes_truths")}, PURE, "not streaming = True"),
        ({"table": LazyRef(f"{__name__}:says_nothing")}, PURE, "says nothing"),
        ({"clients": ("sherpa",)}, CLIENTS, "no client sherpa"),
        ({"state_names": ("hidden",)}, STATES, "the encoder has hidden, processed"),
        ({"state_names": ("same", "same")}, STATES, "it names the states"),
        ({"arrange": LazyRef(f"{__name__}:Forgetful")}, SAME, "answers differently"),
    ],
)
def test_a_broken_writer_fails_its_check_alone(
    replaced: Replaced, failures: Failures, changes: dict[str, Any], check: str, says: str
) -> None:
    replaced(registry().metadata_writers, KEY, **changes)
    found = failures(QuickConformance)
    assert list(found) == [check]
    assert says in found[check]


def test_a_table_that_is_read_as_another_is_found(replaced: Replaced, failures: Failures) -> None:
    table = LazyRef(f"{__name__}:writes_what_is_read_as_a_number")
    replaced(registry().metadata_writers, KEY, table=table)
    assert "is read" in failures(Conformance, STAMPED)[STAMPED]


def test_a_format_without_a_place_for_metadata_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().exporters, "onnx", metadata=None)
    assert "nobody reads the table" in failures(Conformance, STAMPED)[STAMPED]


def test_a_table_in_a_module_that_imports_torch_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    heavy = LazyRef("acme_conformance.encoder:SoundEncoder")
    replaced(registry().metadata_writers, KEY, table=heavy)
    assert "imports torch" in failures(Conformance, LIGHT)[LIGHT]


def test_a_pair_that_nobody_registers_is_found(failures: Failures) -> None:
    class Absent(MetadataWriterConformance):
        encoder, format, recipe = "sound", "ncnn", "sound_transducer"

    assert "no plugin registers the metadata writer" in failures(Absent, ONLY)[ONLY]
