"""The LSTM encoder against icefall's numbers, and what streaming promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from calve.errors import ConfigError
from calve_lstm_transducer.config import LstmEncoderConfig, infer_config
from calve_lstm_transducer.encoder import LstmEncoder
from calve_lstm_transducer.metadata import ncnn_table
from calve_transducer.layers.combine import RandomCombine
from calve_transducer.layers.conversion import to_plain

RECIPE = "lstm_transducer_stateless2"
SIZES = {"num_encoder_layers": 3, "encoder_dim": 32, "rnn_hidden_size": 48, "dim_feedforward": 64}


def close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, rtol=0.0, atol=1e-5)


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{RECIPE}.encoder.pt", weights_only=True)


@pytest.fixture(scope="module", params=["scaled", "plain"])
def encoder(request: pytest.FixtureRequest, goldens: Path) -> Any:
    weights = torch.load(goldens / f"{RECIPE}.ckpt.pt", weights_only=True)["model"]
    encoder = LstmEncoder(LstmEncoderConfig(**SIZES))
    encoder.load_state_dict(
        {key[8:]: value for key, value in weights.items() if key.startswith("encoder.")}
    )
    return encoder.eval() if request.param == "scaled" else to_plain(encoder)


def stream(encoder: Any, x: torch.Tensor, shift: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """All full segments of x, and the states after the last."""
    states = encoder.init_states(len(x))
    outputs = []
    for start in range(0, x.size(1) - shift - 4, shift):
        segment = x[:, start : start + shift + 5]
        y, y_lens, states = encoder.stream(segment, torch.full((len(x),), segment.size(1)), states)
        assert y_lens.tolist() == [shift // 4] * len(x)
        outputs.append(y)
    return torch.cat(outputs, 1), states


@torch.no_grad()
def test_forward(encoder: Any, golden: dict[str, Any]) -> None:
    y, y_lens = encoder(golden["x"], golden["x_lens"])
    close(y, golden["forward"]["out"])
    assert torch.equal(y_lens, golden["forward"]["out_lens"])


@pytest.mark.parametrize("name", ["forward_with_states", "forward_random_states"])
@torch.no_grad()
def test_forward_with_states(encoder: Any, golden: dict[str, Any], name: str) -> None:
    case = golden[name]
    states = {"hidden": case["h0"], "cell": case["c0"]}
    y, y_lens, after = encoder.stream(golden["x"], golden["x_lens"], states)
    close(y, case["out"])
    close(after, {"hidden": case["h"], "cell": case["c"]})
    assert torch.equal(y_lens, case["out_lens"])


@pytest.mark.parametrize("index", range(3))
@torch.no_grad()
def test_streaming(encoder: Any, golden: dict[str, Any], index: int) -> None:
    case = golden["streaming"][index]
    assert case["segment"] - case["offset"] == encoder.geometry.overlap
    y, states = stream(encoder, golden["x"], case["offset"])
    close(y, case["out"])
    close(states, {"hidden": case["h_final"], "cell": case["c_final"]})


@pytest.mark.parametrize("frames_per_step", [1, 2, 3, 5, 7, 21])
@torch.no_grad()
def test_every_shift_gives_what_the_whole_utterance_gives(
    encoder: Any, golden: dict[str, Any], frames_per_step: int
) -> None:
    y, _ = stream(encoder, golden["x"], 4 * frames_per_step)
    close(y, golden["forward"]["out"][:, : y.size(1)])
    assert y.size(1) == 21 // frames_per_step * frames_per_step


@settings(max_examples=20)
@given(data=st.data())
@torch.no_grad()
def test_steps_of_any_sizes_give_what_the_whole_utterance_gives(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 1000), "seed"))
    encoder = to_plain(LstmEncoder(LstmEncoderConfig(**{**SIZES, "num_encoder_layers": 2})))
    steps = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=6), "frames per step")
    x = torch.randn(2, 4 * sum(steps) + 5, 80)
    whole, _ = encoder(x, torch.full((2,), x.size(1)))
    states: Any = encoder.init_states(2)
    outputs, start = [], 0
    for frames in steps:
        segment = x[:, start : start + 4 * frames + 5]
        y, _, states = encoder.stream(segment, torch.full((2,), segment.size(1)), states)
        outputs.append(y)
        start += 4 * frames
    close(torch.cat(outputs, 1), whole)


@torch.no_grad()
def test_a_row_of_a_batch_is_what_the_utterance_gives_alone(
    encoder: Any, golden: dict[str, Any]
) -> None:
    together, lens = encoder(golden["x"], golden["x_lens"])
    for row, length in enumerate(golden["x_lens"].tolist()):
        alone, _ = encoder(golden["x"][row : row + 1, :length], torch.tensor([length]))
        close(alone[0], together[row, : lens[row]])


def test_lengths_count_the_frames_that_the_convolutions_leave(encoder: Any) -> None:
    for frames in range(9, 40):
        for dtype in (torch.int64, torch.float32):
            lens = torch.tensor([frames], dtype=dtype)
            y, y_lens = encoder(torch.zeros(1, frames, 80), lens)
            assert y_lens.dtype == dtype
            assert y_lens.item() == y.size(1) == ((frames - 3) // 2 - 1) // 2


def test_states_are_zero_and_ordered(encoder: Any) -> None:
    states = encoder.init_states(4)
    shapes = {name: tuple(state.shape) for name, state in states.items()}
    assert list(shapes.items()) == [("hidden", (3, 4, 32)), ("cell", (3, 4, 48))]
    assert all(state.size(encoder.state_batch_axis) == 4 for state in states.values())
    assert not any(state.any() for state in states.values())


def test_auxiliary_layers_add_no_parameters_and_matter_only_in_training() -> None:
    plain = LstmEncoder(LstmEncoderConfig(**SIZES, dropout=0.0, layer_dropout=0.0))
    mixed = LstmEncoder(
        LstmEncoderConfig(**SIZES, dropout=0.0, layer_dropout=0.0, aux_layer_period=1)
    )
    mixed.load_state_dict(plain.state_dict())
    assert mixed.encoder.aux_layers == [1]
    x, lens = torch.randn(2, 33, 80), torch.tensor([33, 33])
    with torch.no_grad():
        assert torch.equal(plain.eval()(x, lens)[0], mixed.eval()(x, lens)[0])
        assert not torch.allclose(plain.train()(x, lens)[0], mixed.train()(x, lens)[0])


def test_random_combination_mixes_whole_frames_and_favours_the_last() -> None:
    torch.manual_seed(1)
    inputs = [torch.full((3, 5000, 2), float(number)) for number in range(3)]
    mixed = RandomCombine(num_inputs=3)(inputs)
    assert mixed.shape == (3, 5000, 2)
    assert torch.equal(mixed[..., 0], mixed[..., 1])
    whole = sum((mixed == number).float().mean().item() for number in range(3))
    assert whole == pytest.approx(0.333, abs=0.02)
    assert (mixed == 2).float().mean().item() / whole == pytest.approx(0.5, abs=0.03)
    assert mixed.mean().item() > 1.1


def test_a_layer_is_nearly_bypassed_when_it_is_dropped() -> None:
    torch.manual_seed(0)
    encoder = LstmEncoder(LstmEncoderConfig(**SIZES, dropout=0.0, layer_dropout=1.0)).train()
    layer = encoder.encoder.layers[0]
    x = torch.randn(2, 6, 32)
    full, _ = layer.eval()(x)
    nearly, _ = layer.train()(x)
    close(nearly, 0.1 * full + 0.9 * x)


def test_sizes_are_inferred_from_shapes() -> None:
    config = LstmEncoderConfig(
        num_encoder_layers=2,
        encoder_dim=8,
        rnn_hidden_size=12,
        dim_feedforward=20,
        conv_layer1_channels=2,
        conv_layer2_channels=3,
        conv_layer3_channels=4,
    )
    shapes = {key: tuple(v.shape) for key, v in LstmEncoder(config).state_dict().items()}
    inferred = infer_config(shapes)
    assert inferred == {name: getattr(config, name) for name in inferred}
    assert len(inferred) == 7


def test_nothing_is_inferred_from_another_models_shapes() -> None:
    assert infer_config({"something.weight": (3, 4)}) == {}


@pytest.mark.parametrize(
    "wrong", [{"num_encoder_layers": 0}, {"encoder_dim": 64, "rnn_hidden_size": 32}]
)
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        LstmEncoderConfig(**wrong)


def test_sherpa_ncnn_is_told_the_sizes() -> None:
    config = LstmEncoderConfig(**SIZES)
    assert ncnn_table(config, LstmEncoder.geometry) == {
        "arch": 3,
        "num_encoder_layers": 3,
        "encoder_dim": 32,
        "rnn_hidden_size": 48,
    }
