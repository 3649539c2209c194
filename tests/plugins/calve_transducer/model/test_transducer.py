"""Decoder, joiner, losses and their gradients, and conversion, against icefall's numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from icefall_losses import compare_losses
from torch import nn
from torch.testing import assert_close

from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.layers.conversion import to_plain
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.transducer import Transducer

RECIPE = "lstm_transducer_stateless2"
CASES = (
    "eval",
    "eval_warmup0.5",
    "eval_balancer_always",
    "eval_empty_utt",
    "eval_am_scale",
    "eval_delay_penalty",
    "train_nodropout",
    "train_nodropout_warmup0.5",
    "train_nodropout_warmup0.5_balancer_always",
)


def close(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, rtol=0.0, atol=1e-5)


@pytest.fixture(scope="module")
def weights(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{RECIPE}.ckpt.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{RECIPE}.encoder.pt", weights_only=True)


@pytest.fixture(scope="module")
def training(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / f"{RECIPE}.train.pt", weights_only=True)


@pytest.fixture
def build(weights: dict[str, Any]) -> Callable[..., Transducer]:
    def build(**encoder_options: Any) -> Transducer:
        sizes = LstmEncoderConfig(
            num_encoder_layers=3,
            encoder_dim=32,
            rnn_hidden_size=48,
            dim_feedforward=64,
            **encoder_options,
        )
        config = TransducerConfig(vocab_size=30, decoder_dim=32, joiner_dim=32)
        model = Transducer(LstmEncoder(sizes), config)
        model.load_state_dict(weights)
        return model.eval()

    return build


@pytest.fixture(params=["scaled", "plain"])
def model(request: pytest.FixtureRequest, build: Callable[..., Transducer]) -> nn.Module:
    return build() if request.param == "scaled" else to_plain(build())


@torch.no_grad()
def test_decoder(model: Any, golden: dict[str, Any]) -> None:
    one = model.decoder(golden["decoder_ctx"], need_pad=False)
    close(one, golden["decoder_out_need_pad_False"])
    close(model.decoder(golden["decoder_seq"]), golden["decoder_out_need_pad_True"])
    close(model.simple_lm_proj(one), golden["simple_lm_proj"])


@torch.no_grad()
def test_joiner(model: Any, golden: dict[str, Any]) -> None:
    case = golden["joiner"]
    close(model.joiner(case["encoder_out"], case["decoder_out"]), case["out"])
    close(model.joiner.encoder_proj(case["encoder_out"][:, 0, 0]), case["encoder_proj"])
    projected = (case["encoder_proj"].unsqueeze(1), case["decoder_proj"])
    close(
        model.joiner(*projected, project_input=False),
        case["out_project_input_False"].squeeze(1),
    )
    close(model.simple_am_proj(golden["forward"]["out"]), golden["simple_am_proj"])


def test_a_decoder_with_one_symbol_of_context_has_no_convolution() -> None:
    decoder = StatelessDecoder(vocab_size=5, decoder_dim=3, blank_id=0, context_size=1)
    assert not any(key.startswith("conv") for key in decoder.state_dict())
    assert decoder(torch.tensor([[1, 2, 3]])).shape == (1, 3, 3)
    assert decoder(torch.tensor([[4]]), need_pad=False).shape == (1, 1, 3)


@torch.no_grad()
def test_a_plain_model_is_icefalls_converted_model(
    build: Callable[..., Transducer], golden: dict[str, Any]
) -> None:
    converted = golden["converted"]
    scaled = build()
    plain: Any = to_plain(scaled)
    state = plain.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == converted["keys_shapes"]
    for key, value in {**converted["some_weights"], **converted["lstm_layer0"]}.items():
        close(state[key], value)
    for name, eps in converted["norm_eps_exp"].items():
        assert plain.get_submodule(name).eps == pytest.approx(eps, abs=1e-6)
    encoder_out, _ = plain.encoder(golden["x"], golden["x_lens"])
    close(encoder_out, converted["forward_full_out"])
    close(plain.decoder(golden["decoder_ctx"], need_pad=False), converted["decoder_out"])


def test_converting_leaves_the_model_as_it_was(
    build: Callable[..., Transducer], weights: dict[str, Any]
) -> None:
    model = build().train()
    plain = to_plain(model)
    for parameter in plain.parameters():
        parameter.data.zero_()
    assert model.training
    assert not plain.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_a_plain_model_is_traceable(build: Callable[..., Transducer]) -> None:
    plain: Any = to_plain(build())
    states = plain.encoder.init_states(1)

    def step(x: Any, lens: Any, hidden: Any, cell: Any) -> Any:
        y, y_lens, after = plain.encoder.stream(x, lens, {"hidden": hidden, "cell": cell})
        return y, y_lens, after["hidden"], after["cell"]

    traced = torch.jit.trace(
        step, (torch.randn(1, 9, 80), torch.tensor([9.0]), *states.values()), check_trace=False
    )
    operators = {node.kind() for node in traced.inlined_graph.nodes()}
    assert "prim::PythonOp" not in operators
    close(
        traced(torch.ones(1, 21, 80), torch.tensor([21.0]), *states.values())[:2],
        plain.encoder.stream(torch.ones(1, 21, 80), torch.tensor([21.0]), states)[:2],
    )


def test_converting_twice_changes_nothing(build: Callable[..., Transducer]) -> None:
    once = to_plain(build())
    twice = to_plain(once).state_dict()
    assert all(torch.equal(value, twice[key]) for key, value in once.state_dict().items())


def test_every_training_case_is_tested(training: dict[str, Any]) -> None:
    assert tuple(case["name"] for case in training["cases"]) == CASES


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_icefalls(
    build: Callable[..., Transducer],
    training: dict[str, Any],
    name: str,
) -> None:
    (case,) = (case for case in training["cases"] if case["name"] == name)
    dropout = {
        key: value for key, value in case["encoder_kwargs"].items() if key.endswith("dropout")
    }
    model = build(**dropout).train(case["mode"] == "train")
    compare_losses(model, training, case)


def test_an_encoder_without_warm_up_is_not_told_of_it(training: dict[str, Any]) -> None:
    class Averaging(nn.Module):
        output_dim = 80

        def forward(self, x: torch.Tensor, x_lens: torch.Tensor) -> Any:
            return nn.functional.avg_pool1d(x.transpose(1, 2), 4).transpose(1, 2), x_lens // 4

    model = Transducer(Averaging(), TransducerConfig(vocab_size=30, decoder_dim=8, joiner_dim=8))
    losses = model(training["x"], training["x_lens"], training["cases"][0]["y"], warmup=0.5)
    assert all(torch.isfinite(loss) for loss in losses)
