"""The conformer step by step, against icefall's numbers and against attention in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad
from torch.testing import assert_close

from calve.api import Conventions
from calve.errors import ConfigError
from calve_pruned_transducer.builders import plain_conformer, reworked_conformer
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.encoder import output_lens
from calve_transducer.layers.conversion import to_plain
from calve_transducer.runtime import TorchRuntime

from .conftest import BUILDERS, SIZES, close

LOG_EPSILON = math.log(1e-10)


@dataclass(frozen=True)
class Call:
    """One step of several streams: their numbers, segments and lengths."""

    active: list[int]
    x: torch.Tensor
    x_lens: torch.Tensor


def packed_calls(golden: dict[str, Any], case: dict[str, Any]) -> Iterator[Call]:
    """Segments as icefall's ``streaming_decode.py`` packs them.

    Each stream is padded behind its end, and leaves the batch when all of it was consumed; a
    segment too short for the front end is made longer.
    """
    shift, overlap = 4 * case["chunk_size"], case["pad_length"]
    shortest = 15 + 4 * case["right_context"]
    streams = [
        pad(x[:length], (0, 0, 0, overlap), value=LOG_EPSILON)
        for x, length in zip(golden["x"], golden["x_lens"].tolist(), strict=True)
    ]
    start = 0
    while active := [index for index, stream in enumerate(streams) if start < len(stream)]:
        segments = [streams[index][start : start + shift + overlap] for index in active]
        longest = max(len(segment) for segment in segments)
        extra = max(0, shortest - longest)
        x = torch.stack(
            [
                pad(segment, (0, 0, 0, longest + extra - len(segment)), value=LOG_EPSILON)
                for segment in segments
            ]
        )
        yield Call(active, x, torch.tensor([len(segment) + extra for segment in segments]))
        start += shift


@pytest.mark.parametrize("converted", [False, True], ids=["as trained", "plain"])
@torch.no_grad()
def test_every_step_gives_what_icefall_gives(
    load: Callable[..., Any], golden: dict[str, Any], converted: bool
) -> None:
    for case in golden["streaming"]:
        encoder = load(
            decode_chunk_size=case["chunk_size"],
            left_context=case["left_context"],
            right_context=case["right_context"],
        ).encoder
        encoder = to_plain(encoder) if converted else encoder
        assert encoder.geometry.shift == 4 * case["chunk_size"]
        assert encoder.geometry.overlap == case["pad_length"]
        after = check_steps(encoder, golden, case)
        close(after["attention"].transpose(1, 2), case["final_attn_state"])
        close(after["convolution"].transpose(1, 2), case["final_conv_state"])
        assert after["processed"][0].tolist() == case["done_frames"]


def check_steps(encoder: Any, golden: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Compare each step, and return the states of each stream after its last."""
    states = encoder.init_states(len(golden["x"]))
    for call, expected in zip(packed_calls(golden, case), case["calls"], strict=True):
        assert call.active == expected["active"]
        assert list(call.x.shape) == expected["x_shape"]
        assert torch.equal(call.x_lens, expected["x_lens"])
        if "x" in expected:
            close(call.x, expected["x"])
        before = {name: state[:, call.active] for name, state in states.items()}
        assert before["processed"][0].tolist() == expected["processed_lens"].tolist()
        y, y_lens, after = encoder.stream(call.x, call.x_lens, before)
        close(y, expected["out"])
        assert torch.equal(y_lens, expected["out_lens"])
        if "attn_state" in expected:
            close(after["attention"].transpose(1, 2), expected["attn_state"])
            close(after["convolution"].transpose(1, 2), expected["conv_state"])
        for name, state in states.items():
            state[:, call.active] = after[name]
    return states


def stream(encoder: Any, x: torch.Tensor) -> torch.Tensor:
    """The output of all full segments of x."""
    shift, segment = encoder.geometry.shift, encoder.geometry.segment
    states, outputs = encoder.init_states(len(x)), []
    for start in range(0, x.size(1) - segment + 1, shift):
        y, _, states = encoder.stream(
            x[:, start : start + segment], torch.full((len(x),), segment), states
        )
        outputs.append(y)
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("build", BUILDERS)
@settings(max_examples=30)
@given(
    chunk_size=st.integers(1, 12),
    left_context=st.integers(0, 20),
    chunks=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
def test_streaming_equals_attention_in_chunks_from_frame_1_on(
    build: Callable[..., Any], chunk_size: int, left_context: int, chunks: int, seed: int
) -> None:
    torch.manual_seed(seed)
    config = ConformerConfig(**SIZES, decode_chunk_size=chunk_size, left_context=left_context)
    encoder = build(config).eval()
    x = torch.randn(2, 4 * chunk_size * chunks + encoder.geometry.overlap, 20)
    lens = output_lens(torch.full((2,), x.size(1)))
    simulated, _ = encoder.encode_in_chunks(
        encoder.encoder_embed(x)[:, 1:], lens - 1, chunk_size=chunk_size, left_context=left_context
    )
    real = stream(encoder, x)
    assert real.size(1) == chunk_size * chunks
    assert_close(real, simulated[:, : real.size(1)], rtol=0.0, atol=1e-4)


@torch.no_grad()
def test_the_trained_models_stream_as_they_attend_in_chunks(
    load: Callable[..., Any], golden: dict[str, Any]
) -> None:
    x = golden["x"][:1]
    for chunk_size, left_context in ((1, 2), (4, 4), (5, 7), (8, 32)):
        encoder = load(decode_chunk_size=chunk_size, left_context=left_context).encoder
        simulated, _ = encoder.encode_in_chunks(
            golden["encoder_embed"][:1, 1:],
            golden["forward_full"]["out_lens"][:1] - 1,
            chunk_size=chunk_size,
            left_context=left_context,
        )
        real = stream(encoder, x)
        assert_close(real, simulated[:, : real.size(1)], rtol=0.0, atol=1e-4)


@torch.no_grad()
def test_the_first_generation_simulates_exactly_what_a_stream_four_frames_later_gives() -> None:
    # Its front end pads nothing, so frame 1 of an utterance is frame 0 of the rest of it.
    encoder = plain_conformer(ConformerConfig(**SIZES, decode_chunk_size=3, left_context=6)).eval()
    x = torch.randn(1, 70, 20)
    simulated, _ = encoder.simulate_streaming(
        x[:, 4:], torch.tensor([66]), chunk_size=3, left_context=6
    )
    real = stream(encoder, x)
    assert_close(real, simulated[:, : real.size(1)], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("build", BUILDERS)
@torch.no_grad()
def test_a_last_partial_chunk_differs_from_attention_in_chunks(build: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    encoder = build(ConformerConfig(**SIZES, decode_chunk_size=4, left_context=8)).eval()
    x = torch.randn(1, 45, 20)
    simulated, lens = encoder.encode_in_chunks(
        encoder.encoder_embed(x)[:, 1:],
        output_lens(torch.tensor([45])) - 1,
        chunk_size=4,
        left_context=8,
    )
    whole = stream(encoder, pad(x, (0, 0, 0, encoder.geometry.segment), value=LOG_EPSILON))
    full = int(lens) // 4 * 4
    assert full < int(lens) <= whole.size(1)
    assert_close(whole[:, :full], simulated[:, :full], rtol=0.0, atol=1e-4)
    assert not torch.allclose(whole[:, full : int(lens)], simulated[:, full:], atol=1e-3)


@pytest.mark.parametrize("build", BUILDERS)
@torch.no_grad()
def test_streams_do_not_see_one_another(build: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    config = ConformerConfig(**SIZES, decode_chunk_size=2, left_context=3, right_context=1)
    encoder = build(config).eval()
    x = torch.randn(3, 60, 20)
    together = stream(encoder, x)
    for row in range(3):
        close(stream(encoder, x[row : row + 1])[0], together[row])


@pytest.mark.parametrize(("build", "frames"), [(plain_conformer, 6), (reworked_conformer, 4)])
@torch.no_grad()
def test_only_the_first_generation_gives_the_frames_of_the_right_context_too(
    build: Callable[..., Any], frames: int
) -> None:
    config = ConformerConfig(**SIZES, decode_chunk_size=4, left_context=8, right_context=2)
    encoder = build(config).eval()
    segment = encoder.geometry.segment
    y, y_lens, states = encoder.stream(
        torch.randn(1, segment, 20), torch.tensor([segment]), encoder.init_states(1)
    )
    assert y.size(1) == y_lens.item() == states["processed"].item() == frames


def test_states_are_zero_and_ordered() -> None:
    encoder = reworked_conformer(ConformerConfig(**SIZES, left_context=7))
    states = encoder.init_states(4)
    assert {name: tuple(state.shape) for name, state in states.items()} == {
        "attention": (2, 4, 7, 16),
        "convolution": (2, 4, 4, 16),
        "processed": (1, 4),
    }
    assert list(states) == ["attention", "convolution", "processed"]
    assert all(state.size(encoder.state_batch_axis) == 4 for state in states.values())
    assert not any(state.any() for state in states.values())


def test_convolutions_that_see_the_future_cannot_stream() -> None:
    encoder = reworked_conformer(ConformerConfig(**{**SIZES, "causal_convolution": False}))
    with pytest.raises(ConfigError, match="cannot stream"):
        encoder.init_states(1)
    with pytest.raises(ConfigError, match="cannot stream"):
        encoder.simulate_streaming(
            torch.zeros(1, 20, 20), torch.tensor([20]), chunk_size=4, left_context=4
        )


def test_the_torch_runtime_runs_it(model: Any) -> None:
    session = TorchRuntime.open(model, conventions=Conventions())
    x = torch.randn(2, session.geometry.segment, 80).numpy()
    encoder_out, states = session.encode_chunk(x, session.init_states(2))
    assert encoder_out.shape == (2, session.geometry.output_frames, model.encoder.output_dim)
    assert states["processed"].tolist() == [[16.0, 16.0]]
