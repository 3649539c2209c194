"""Each check of the encoder kit fails on an encoder that is broken in just that way."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from calve.api import LazyRef, StreamingGeometry
from calve.registry.catalog import registry
from calve.testing import EncoderConformance
from calve_transducer.family import TransducerFamily

pytestmark = pytest.mark.usefixtures("sound_plugin")

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]


class SoundConformance(EncoderConformance):
    encoder = "sound"


class QuickConformance(EncoderConformance):
    """Without what takes longest: exports, and imports in new processes."""

    encoder = "sound"
    formats = ()
    test_importing_the_plugin_imports_nothing_heavy = None


def test_a_sound_encoder_passes_every_check(failures: Failures) -> None:
    assert failures(SoundConformance) == {}


def sound(config: Any) -> Any:
    from acme_conformance.encoder import SoundEncoder

    return SoundEncoder(config)


def with_method(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a builder of encoders whose method is another; it is given the sound one first."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        def build(config: Any) -> Any:
            base = type(sound(config))
            original = getattr(base, name)

            def replacement(self: Any, *arguments: Any) -> Any:
                return method(original.__get__(self), self, *arguments)

            return type(method.__name__, (base,), {name: replacement})(config)

        return build

    return decorate


def after_building(change: Callable[[Any], None]) -> Callable[..., Any]:
    def build(config: Any) -> Any:
        encoder = sound(config)
        change(encoder)
        return encoder

    return build


@after_building
def an_axis_for_each_state(encoder):
    zeros = encoder.init_states
    encoder.state_batch_axis = {"hidden": 1, "processed": 0}
    encoder.init_states = lambda size: zeros(size) | {"processed": zeros(size)["processed"].T}


def test_states_may_count_streams_on_different_axes(replaced: Replaced, failures: Failures) -> None:
    build = LazyRef(f"{__name__}:an_axis_for_each_state")
    replaced(registry().encoders, "sound", build=build)
    assert failures(QuickConformance) == {}


# Builders of broken encoders.


@with_method("forward")
def counts_too_many(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    return y, y_lens + 1


@with_method("forward")
def counts_in_floats(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    return y, y_lens.float()


@after_building
def another_subsampling_factor(encoder):
    encoder.geometry = StreamingGeometry(4, 3, 2)


@after_building
def simulates_with_the_whole_utterance(encoder):
    def stream_at_once(x, x_lens):
        y, y_lens = encoder(x, x_lens)
        return y + y.mean(1, keepdim=True), y_lens

    encoder.stream_at_once = stream_at_once


@with_method("stream")
def one_frame_too_many(stream, encoder, x, x_lens, states):
    y, y_lens, states = stream(x, x_lens, states)
    return torch.cat([y, y[:, -1:]], 1), y_lens, states


@with_method("stream")
def step_counts_in_integers(stream, encoder, x, x_lens, states):
    y, y_lens, states = stream(x, x_lens, states)
    return y, y_lens.long(), states


@with_method("forward")
def scales_by_the_batch_length(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    return y * (x_lens / x.size(1)).view(-1, 1, 1), y_lens


@with_method("forward")
def counts_padding(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    return y, torch.full_like(y_lens, y.size(1))


@with_method("forward")
def mixes_utterances(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    return y - 0.1 * y.mean(0, keepdim=True), y_lens


@with_method("stream")
def mixes_streams(stream, encoder, x, x_lens, states):
    y, y_lens, states = stream(x, x_lens, states)
    return y - 0.1 * y.mean(0, keepdim=True) + 0.1 * y[:1], y_lens, states


@with_method("stream")
def mixes_states(stream, encoder, x, x_lens, states):
    y, y_lens, after = stream(x, x_lens, states)
    return (
        y,
        y_lens,
        after | {"processed": after["processed"].sum(1, keepdim=True) + 0 * states["processed"]},
    )


@with_method("stream")
def forgets(stream, encoder, x, x_lens, states):
    y, y_lens, after = stream(x, x_lens, encoder.init_states(x.size(0)))
    return y, y_lens, after


@with_method("stream")
def takes_one_length_only(stream, encoder, x, x_lens, states):
    if x.size(1) > encoder.geometry.segment:
        states = encoder.init_states(x.size(0))
    return stream(x, x_lens, states)


@with_method("stream")
def swaps_its_states(stream, encoder, x, x_lens, states):
    y, y_lens, after = stream(x, x_lens, states)
    return y, y_lens, dict(reversed(after.items()))


@with_method("stream")
def widens_a_state(stream, encoder, x, x_lens, states):
    y, y_lens, after = stream(x, x_lens, states)
    return y, y_lens, after | {"processed": after["processed"].double()}


@with_method("init_states")
def counts_in_integers(init_states, encoder, batch_size):
    states = init_states(batch_size)
    return states | {"processed": states["processed"].long()}


@with_method("init_states")
def one_state_for_all(init_states, encoder, batch_size):
    states = init_states(batch_size)
    return states | {"processed": states["processed"][:, :1]}


@with_method("init_states")
def starts_at_one(init_states, encoder, batch_size):
    states = init_states(batch_size)
    return states | {"processed": states["processed"] + 1}


@with_method("stream")
def writes_into_its_states(stream, encoder, x, x_lens, states):
    y, y_lens, after = stream(x, x_lens, states)
    states["processed"].add_(1)
    return y, y_lens, after


@with_method("forward")
def draws_random_numbers(forward, encoder, x, x_lens):
    torch.rand(())
    return forward(x, x_lens)


@after_building
def weights_of_its_own(encoder):
    with torch.no_grad():
        encoder.front.bias.fill_(random.random())


@with_method("embed")
def deaf(embed, encoder, x):
    return 0 * embed(x).detach() + encoder.front.bias


@with_method("forward")
def never_twice_the_same(forward, encoder, x, x_lens):
    y, y_lens = forward(x, x_lens)
    encoder.calls = getattr(encoder, "calls", 0) + 1
    return y + 1e-6 * encoder.calls, y_lens


@after_building
def idle_parameter(encoder):
    encoder.idle = nn.Parameter(torch.zeros(3))


@with_method("embed")
def gradient_explodes(embed, encoder, x):
    return embed(x) + (encoder.front.bias * 0).abs().sqrt()


@after_building
def unsaved_buffer(encoder):
    encoder.register_buffer("offset", torch.randn(()), persistent=False)
    encoder.front.register_forward_hook(lambda module, inputs, y: y + encoder.offset)


class LossyFamily(TransducerFamily):
    def to_plain(self, model):
        plain = super().to_plain(model)
        plain.encoder.front = copy.deepcopy(plain.encoder.front)
        with torch.no_grad():
            plain.encoder.front.bias += 0.1
        return plain


STATES = "states_keep_their_names_shapes_and_order"
STREAMS = "streams_of_a_batch_do_not_see_each_other"
WHOLE = "step_by_step_gives_what_the_whole_utterance_gives"
SAME = "it_answers_the_same_every_time"
PADDING = "padding_does_not_change_an_utterance"
LENGTHS = "lengths_count_what_it_returns"
STEP = "a_step_gives_the_frames_that_its_geometry_says"
AT_ONCE = "streaming_at_once_gives_what_steps_give"
GRADIENTS = "gradients_reach_every_parameter"
CHECKPOINT = "a_checkpoint_gives_the_same_model_again"
BATCH = "utterances_of_a_batch_do_not_see_each_other"
INPUTS = "a_step_leaves_its_inputs_alone"

# builder, the checks that fail (what the first of them says), no other
BROKEN_ENCODERS = [
    ("counts_too_many", "says that there are", {LENGTHS, PADDING}),
    ("counts_in_floats", "not in int64", {LENGTHS}),
    ("another_subsampling_factor", "subsampling_factor", {LENGTHS, STEP}),
    ("one_frame_too_many", "its geometry says 1 frames", {STEP, WHOLE}),
    ("step_counts_in_integers", "for 1 frames counted in torch.float32", {STEP}),
    ("scales_by_the_batch_length", "padded to", {PADDING}),
    ("counts_padding", "in a batch", {PADDING}),
    ("mixes_utterances", "an utterance in a batch", {BATCH, PADDING, WHOLE}),
    ("mixes_streams", "a stream in a batch", {STREAMS, WHOLE}),
    ("mixes_states", "the state 'processed' of a stream", {STREAMS}),
    ("simulates_with_the_whole_utterance", "stream_at_once on 5 steps", {AT_ONCE}),
    ("forgets", "5 steps of 4 frames", {WHOLE}),
    ("takes_one_length_only", "5 steps of 8 frames", {WHOLE}),
    ("swaps_its_states", "after a step ['processed', 'hidden']", {STATES}),
    ("widens_a_state", "after a step (1, 1) torch.float64", {STATES}),
    ("counts_in_integers", "runtimes carry float32", {STATES}),
    ("one_state_for_all", "axis 1 must count the streams", {STATES, STREAMS}),
    ("starts_at_one", "not zero at the start", {STATES}),
    ("writes_into_its_states", "writes into what it was given: processed", {INPUTS}),
    ("draws_random_numbers", "draws random numbers", {SAME}),
    ("weights_of_its_own", "random numbers that torch does not know of", {SAME}),
    ("deaf", "does not depend on what it hears", {SAME, GRADIENTS}),
    ("never_twice_the_same", "differently the second time", {SAME}),
    ("idle_parameter", "no gradient reaches idle", {GRADIENTS}),
    ("gradient_explodes", "is not finite", {GRADIENTS}),
    ("unsaved_buffer", "saved and loaded answers differently", {CHECKPOINT}),
]


@pytest.mark.parametrize(("builder", "says", "expected"), BROKEN_ENCODERS)
def test_a_broken_encoder_fails_the_checks_of_what_is_broken(
    replaced: Replaced, failures: Failures, builder: str, says: str, expected: set[str]
) -> None:
    replaced(registry().encoders, "sound", build=LazyRef(f"{__name__}:{builder}"))
    found = failures(QuickConformance)
    assert set(found) == expected
    assert any(says in message for message in found.values()), found


@dataclass(frozen=True)
class Clashing:
    dim: int = field(default=64, metadata={"help": "Dimension."})
    joiner_dim: int = field(default=64, metadata={"help": "Not the joiner's."})


@dataclass(frozen=True)
class Silent:
    dim: int = 64


@dataclass(frozen=True)
class Doubling:
    dim: int = field(default=64, metadata={"help": "Dimension."})

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", 2 * self.dim)


def wrong_sizes(shapes: Any) -> dict[str, Any]:
    return {"dim": shapes["front.weight"][0] + 1}


def no_sizes(shapes: Any) -> dict[str, Any]:
    return {}


CONFIGURATION = "its_configuration_explains_itself_and_survives_a_file"
OPTIONS = "its_options_differ_from_those_of_the_model_around_it"
LIGHT = "importing_the_plugin_imports_nothing_heavy"


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"config": "acme_conformance.heavy:SoundConfig"}, LIGHT, "imports torch"),
        ({"infer_config": "acme_conformance.heavy:infer_config"}, LIGHT, "imports torch"),
        ({"config": f"{__name__}:Clashing"}, OPTIONS, "the option joiner_dim"),
        ({"config": f"{__name__}:Silent"}, CONFIGURATION, "Silent.dim has no help"),
        ({"config": f"{__name__}:Doubling"}, CONFIGURATION, "not the same"),
        ({"infer_config": f"{__name__}:wrong_sizes"}, CHECKPOINT, "say dim = 17, and it is 16"),
    ],
)
def test_a_broken_reference_fails_its_check(
    replaced: Replaced, failures: Failures, changes: dict[str, str], check: str, says: str
) -> None:
    references = {name: LazyRef(target) for name, target in changes.items()}
    replaced(registry().encoders, "sound", **references)
    assert says in failures(SoundConformance, check)[check]


def test_options_that_no_shape_tells_are_taken_from_the_checkpoint(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().encoders, "sound", infer_config=LazyRef(f"{__name__}:no_sizes"))
    assert failures(QuickConformance, CHECKPOINT) == {}


def test_plain_layers_that_compute_something_else_are_found(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().recipes, "sound_transducer", family=LazyRef(f"{__name__}:LossyFamily"))
    found = failures(QuickConformance)
    assert list(found) == ["plain_layers_compute_the_same"]
    assert "the encoder as it is exported" in found["plain_layers_compute_the_same"]


def test_an_encoder_that_is_not_registered_or_twice_is_found(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(EncoderConformance):
        encoder = "no_such_encoder"

    message = failures(Absent, "its_names_are_its_own")["its_names_are_its_own"]
    assert "no plugin registers the encoder 'no_such_encoder'" in message
    assert Absent()._formats() == ()
    table = registry().encoders
    claim = table._claims["sound"]
    monkeypatch.setitem(table._claims, "sound", claim * 2)
    message = failures(SoundConformance, "its_names_are_its_own")["its_names_are_its_own"]
    assert "registered more than once" in message


class Loud(nn.Module):
    """A export form that computes something else."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.geometry, self.feature_dim = encoder.geometry, encoder.feature_dim
        self.output_dim, self.state_batch_axis = encoder.output_dim, encoder.state_batch_axis
        self.init_states = encoder.init_states

    def stream(self, x: Any, x_lens: Any, states: Any) -> Any:
        y, y_lens, after = self.encoder.stream(x, x_lens, states)
        return 1.01 * y, y_lens, after


EXPORT = "a_claimed_format_works_and_only_claimed_clients_open_it"


def test_an_export_that_does_not_agree_with_torch_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().encoders, "sound", export_form=LazyRef(f"{__name__}:Loud"))
    found = failures(SoundConformance, EXPORT)
    assert "onnx fp32 in onnx is claimed and fails" in found[EXPORT]
    assert "encoder_out is off by" in found[EXPORT]


def test_a_claimed_format_without_metadata_is_found(replaced: Replaced, failures: Failures) -> None:
    replaced(registry().encoders, "sound", formats=("jit-trace",))
    message = failures(SoundConformance, "metadata")["metadata_for_a_claimed_format"]
    assert "no plugin registers the metadata writer ('sound', 'jit-trace')" in message


def test_a_client_that_is_claimed_and_cannot_open_it_is_found(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().metadata_writers, ("sound", "onnx"), clients=None)
    found = failures(SoundConformance, EXPORT)
    assert "in sherpa-onnx is claimed and fails" in found[EXPORT]
