"""The scaled layers against numbers measured on icefall's, forward and backward."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from calve_transducer.layers import scaling

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

LAYERS: dict[str, Any] = {
    "scaled_linear": lambda case: scaling.ScaledLinear(5, 4),
    "scaled_linear_nobias": lambda case: scaling.ScaledLinear(5, 4, bias=False),
    "scaled_conv1d": lambda case: scaling.ScaledConv1d(**case["conv_kwargs"]),
    "scaled_conv2d": lambda case: scaling.ScaledConv2d(**case["conv_kwargs"]),
    "scaled_embedding": lambda case: scaling.ScaledEmbedding(7, 4),
    "scaled_lstm_proj": lambda case: scaling.ScaledLSTM(**case["lstm_kwargs"]),
    "scaled_lstm_noproj": lambda case: scaling.ScaledLSTM(**case["lstm_kwargs"]),
}


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / "optim_scaling.pt", weights_only=True)


def test_the_golden_file_holds_no_scaled_layer_that_is_not_tested(golden: dict[str, Any]) -> None:
    assert {name for name in golden if name.startswith("scaled_")} == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_scaled_layer_computes_and_learns_as_icefalls(golden: dict[str, Any], name: str) -> None:
    case = golden[name]
    layer = LAYERS[name](case)
    assert list(layer.state_dict()) == list(case["state_dict"])
    layer.load_state_dict(case["state_dict"])
    x = case["x"].clone()
    if x.is_floating_point():
        x.requires_grad_()

    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    y.backward(case["y_grad"])

    assert_close(y, case["y"], **TOLERANCE)
    if x.requires_grad:
        assert_close(x.grad, case["x_grad"], **TOLERANCE)
    for key, parameter in layer.named_parameters():
        assert_close(parameter.grad, case["param_grad"][key], **TOLERANCE)


def test_a_batch_first_lstm_is_the_time_major_one_transposed(golden: dict[str, Any]) -> None:
    case = golden["scaled_lstm_proj"]
    layer = scaling.ScaledLSTM(**case["lstm_kwargs"], batch_first=True)
    layer.load_state_dict(case["state_dict"])
    x = case["x"].transpose(0, 1).clone().requires_grad_()

    y, (hidden, _) = layer(x)
    y.backward(case["y_grad"].transpose(0, 1))

    assert_close(y, case["y"].transpose(0, 1), **TOLERANCE)
    assert_close(hidden[0], case["y"][-1], **TOLERANCE)
    assert_close(x.grad, case["x_grad"].transpose(0, 1), **TOLERANCE)


@pytest.mark.parametrize("index", range(10))
def test_the_balancer_changes_gradients_as_icefalls(
    golden: dict[str, Any], index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = golden["activation_balancer"][index]
    drawn = 0.0 if case["random_random"] == "applied" else 1.0
    monkeypatch.setattr(random, "random", lambda: drawn)
    balancer = scaling.ActivationBalancer(**case["kwargs"], balance_prob=case["balance_prob"])
    x = case["x"].clone().requires_grad_()

    y = balancer(x)
    y.backward(case["y_grad"])

    assert torch.equal(y, case["x"])
    assert_close(x.grad, case["x_grad"], **TOLERANCE)


def test_double_swish_and_its_gradient(golden: dict[str, Any]) -> None:
    case = golden["double_swish"]
    x = case["x"].clone().requires_grad_()
    y = scaling.DoubleSwish()(x)
    y.backward(case["y_grad"])
    assert_close(y, case["y"], **TOLERANCE)
    assert_close(x.grad, case["x_grad"], **TOLERANCE)


@pytest.mark.parametrize("index", range(2))
def test_basic_norm_and_its_gradients(golden: dict[str, Any], index: int) -> None:
    case = golden["basic_norm"][index]
    norm = scaling.BasicNorm(case["channel_dim"])
    norm.load_state_dict({"eps": case["eps"]})
    x = case["x"].clone().requires_grad_()
    y = norm(x)
    y.backward(case["y_grad"])
    assert_close(y, case["y"], **TOLERANCE)
    assert_close(x.grad, case["x_grad"], **TOLERANCE)
    assert_close(norm.eps.grad, case["eps_grad"], **TOLERANCE)


def test_the_gradient_filter_damps_exploding_utterances(golden: dict[str, Any]) -> None:
    case = golden["gradient_filter"]
    names = ("x", "w", "b")
    inputs = [torch.zeros_like(case[f"{name}_grad_in"]).requires_grad_() for name in names]
    outputs = scaling._GradientFilter.apply(
        inputs[0], case["batch_dim"], case["threshold"], *inputs[1:]
    )
    torch.autograd.backward(outputs, [case[f"{name}_grad_in"] for name in names])
    for name, tensor in zip(names, inputs, strict=True):
        assert_close(tensor.grad, case[f"{name}_grad_out"], **TOLERANCE)


INITIAL: dict[str, Any] = {
    "ScaledLinear(8,6)": lambda: scaling.ScaledLinear(8, 6),
    "ScaledLinear(8,6,initial_scale=0.25)": lambda: scaling.ScaledLinear(8, 6, initial_scale=0.25),
    "ScaledLinear(8,6,initial_speed=0.5)": lambda: scaling.ScaledLinear(8, 6, initial_speed=0.5),
    "ScaledConv1d(4,6,3)": lambda: scaling.ScaledConv1d(4, 6, 3),
    "ScaledConv2d(2,3,3)": lambda: scaling.ScaledConv2d(2, 3, 3),
    "ScaledEmbedding(9,4)": lambda: scaling.ScaledEmbedding(9, 4),
    "ScaledLSTM(4,6,proj=4)": lambda: scaling.ScaledLSTM(4, 6, proj_size=4),
    "BasicNorm(4)": lambda: scaling.BasicNorm(),
}


@pytest.mark.parametrize("name", INITIAL)
def test_a_new_layer_starts_where_icefalls_starts(golden: dict[str, Any], name: str) -> None:
    layer = INITIAL[name]()
    expected = golden["initial_values"][name]
    state = layer.state_dict()
    assert list(state) == list(expected)
    for key, wanted in expected.items():
        assert list(state[key].shape) == wanted["shape"]
        if wanted["value"] is not None:
            assert state[key].item() == pytest.approx(wanted["value"], abs=1e-6)
        elif wanted["max_abs"] == 0.0:
            assert state[key].abs().max() == 0.0
        elif "Embedding" not in name:
            std = 0.2 if "initial_speed" in name else 0.1
            assert 0.0 < state[key].abs().max() <= math.sqrt(3.0) * std


def test_a_new_embedding_has_unit_variance() -> None:
    torch.manual_seed(0)
    assert scaling.ScaledEmbedding(400, 50).scaled_weight().std().item() == pytest.approx(
        1.0, abs=0.02
    )
