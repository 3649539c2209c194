"""What the torch runtime steps with, against the conformer itself and against icefall's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from calve.errors import ConfigError
from calve.protocols.states import join_states, select_states
from calve_pruned_transducer.builders import plain_conformer, reworked_conformer
from calve_transducer.layers.conversion import to_plain
from calve_transducer.runtime import TorchRuntime

from .conftest import BUILDERS, SIZES, close, conformer

GEOMETRIES = [(4, 8, 0), (1, 1, 0), (5, 3, 1), (3, 16, 4), (5, 0, 1)]


@pytest.fixture(autouse=True)
def _without_gradients() -> Any:
    with torch.no_grad():
        yield


def steps(encoder: Any, x: torch.Tensor, segment: int, shift: int) -> torch.Tensor:
    """The output of all whole segments, one after another."""
    states, outputs = encoder.init_states(len(x)), []
    for start in range(0, x.size(1) - segment + 1, shift):
        x_lens = torch.full((len(x),), segment)
        y, y_lens, states = encoder.stream(x[:, start : start + segment], x_lens, states)
        assert (y_lens == y.size(1)).all()
        outputs.append(y)
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("streams", [1, 17])
@pytest.mark.parametrize(("chunk_size", "left_context", "right_context"), GEOMETRIES)
def test_it_gives_what_the_conformer_gives_step_by_step(
    build: Callable[..., Any], streams: int, chunk_size: int, left_context: int, right_context: int
) -> None:
    encoder = conformer(
        build,
        decode_chunk_size=chunk_size,
        left_context=left_context,
        right_context=right_context,
    )
    geometry = encoder.geometry
    x = torch.randn(streams, geometry.segment + 11 * geometry.shift, SIZES["feature_dim"])
    sizes = geometry.segment, geometry.shift
    close(steps(encoder.runtime_form(), x, *sizes), steps(encoder, x, *sizes))


@pytest.mark.parametrize("converted", [False, True], ids=["as trained", "plain"])
def test_it_gives_what_icefall_gives(
    load: Callable[..., Any], golden: dict[str, Any], converted: bool
) -> None:
    compared = 0
    for case in golden["streaming"]:
        model = load(
            decode_chunk_size=case["chunk_size"],
            left_context=case["left_context"],
            right_context=case["right_context"],
        )
        session = TorchRuntime.open(to_plain(model) if converted else model)
        segment, shift = session.geometry.segment, session.geometry.shift
        for stream, features in enumerate(golden["x"]):
            states = session.init_states(1)
            for number, call in enumerate(case["calls"]):
                start = number * shift
                if start + segment > golden["x_lens"][stream]:
                    break  # The rest is no whole segment.
                x = features[None, start : start + segment].contiguous()
                encoder_out, states = session.encode_chunk(x.numpy(), states)
                expected = session.project(call["out"][call["active"].index(stream)].numpy())
                np.testing.assert_allclose(encoder_out[0], expected, rtol=0, atol=1e-5)
                compared += 1
    assert compared > 5


@pytest.mark.parametrize("build", BUILDERS)
def test_streams_may_leave_and_enter(build: Callable[..., Any]) -> None:
    form = conformer(build, decode_chunk_size=2, left_context=5, right_context=1).runtime_form()
    segment, shift = form.geometry.segment, form.geometry.shift
    x = torch.randn(3, segment + 5 * shift, SIZES["feature_dim"])

    def step(states: Any, rows: list[int], start: int) -> tuple[torch.Tensor, Any]:
        tensors = {name: torch.from_numpy(state) for name, state in states.items()}
        part = x[rows, start : start + segment]
        y, _, states = form.stream(part, torch.full((len(rows),), segment), tensors)
        return y, {name: state.numpy() for name, state in states.items()}

    def fresh(count: int) -> Any:
        return {name: state.numpy() for name, state in form.init_states(count).items()}

    axes = form.state_batch_axis
    _, states = step(fresh(2), [0, 1], 0)
    _, states = step(select_states(states, [1], axes), [1], shift)
    y, _ = step(join_states([states, fresh(1)], axes), [1, 2], 2 * shift)
    old, new = steps(form, x[1:2], segment, shift), steps(form, x[2:, 2 * shift :], segment, shift)
    close(y[0], old[0, 2 * y.size(1) : 3 * y.size(1)])
    close(y[1], new[0, : y.size(1)])


@pytest.mark.parametrize("build", BUILDERS)
def test_segments_may_have_any_length(build: Callable[..., Any]) -> None:
    encoder = conformer(build, decode_chunk_size=4, left_context=8)
    form = encoder.runtime_form()
    x = torch.randn(2, 100, SIZES["feature_dim"])
    for chunk_size in (4, 1, 6, 4):
        shift = chunk_size * encoder.geometry.subsampling_factor
        sizes = shift + encoder.geometry.overlap, shift
        close(steps(form, x, *sizes), steps(encoder, x, *sizes))


@pytest.mark.parametrize("build", BUILDERS)
def test_whole_utterances_are_left_to_the_conformer(build: Callable[..., Any]) -> None:
    encoder = conformer(build, decode_chunk_size=2, left_context=4)
    form = encoder.runtime_form()
    x, x_lens = torch.randn(2, 8 * 6 + 11, SIZES["feature_dim"]), torch.tensor([8 * 6 + 11, 43])
    for actual, expected in zip(form(x, x_lens), encoder(x, x_lens), strict=True):
        assert torch.equal(actual, expected)
    at_once = zip(form.stream_at_once(x, x_lens), encoder.stream_at_once(x, x_lens), strict=True)
    for actual, expected in at_once:
        assert torch.equal(actual, expected)


def test_the_model_stays_as_it_is() -> None:
    encoder = conformer(reworked_conformer)
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    form = encoder.runtime_form()
    steps(form, torch.randn(2, 200, SIZES["feature_dim"]), form.geometry.segment, 64)
    assert dict(encoder.named_parameters()).keys() == before.keys()
    assert all(torch.equal(encoder.get_parameter(name), one) for name, one in before.items())
    layer = encoder.encoder.layers[0]
    assert form.layers[0].feed_forward[0].weight is layer.feed_forward[0].weight


def test_an_input_is_not_overwritten() -> None:
    form = conformer(plain_conformer, decode_chunk_size=2, left_context=4).runtime_form()
    states = form.init_states(2)
    before = {name: state.clone() for name, state in states.items()}
    x = torch.randn(2, form.geometry.segment, SIZES["feature_dim"])
    features = x.clone()
    form.stream(x, torch.full((2,), x.size(1)), states)
    assert torch.equal(x, features)
    assert all(torch.equal(states[name], state) for name, state in before.items())


def test_a_conformer_that_sees_the_future_takes_whole_utterances_only() -> None:
    form = conformer(reworked_conformer, causal_convolution=False).runtime_form()
    y, _ = form(torch.randn(1, 30, SIZES["feature_dim"]), torch.tensor([30]))
    assert y.isfinite().all()
    with pytest.raises(ConfigError, match="cannot stream"):
        form.init_states(1)
