from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calve_transducer.training.optimizer import Eden, Eve

GOLDEN_EPOCH_STARTS = {8: 1, 14: 2}
"""Steps of the golden run "train_py" before which it began an epoch."""


@pytest.fixture(scope="module")
def optimization(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / "optim_scaling.pt", weights_only=True)


@pytest.mark.parametrize("name", ["default_lr_0.003", "wd0.01_rms0.05_betas", "train_py"])
def test_eve_follows_the_golden_trajectory(optimization: dict[str, Any], name: str) -> None:
    (golden,) = [case for case in optimization["eve"] if case["name"] == name]
    parameters = [nn.Parameter(value.clone()) for value in golden["init"]]
    optimizer = Eve(parameters, **golden["hyper"])
    scheduler = Eden(optimizer, 7, 2) if name == "train_py" else None
    steps = zip(golden["grads"], golden["params"], golden["lrs"], strict=True)
    for i, (grads, expected, rate) in enumerate(steps):
        if scheduler is not None:
            if i in GOLDEN_EPOCH_STARTS:
                scheduler.step_epoch(GOLDEN_EPOCH_STARTS[i])
            scheduler.step_batch(i + 1)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-12)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else grad.clone()
        optimizer.step()
        for parameter, value in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.detach(), value, rtol=1e-5, atol=1e-7)
    assert_states_equal(optimizer.state_dict()["state"], golden["final_state"])


def assert_states_equal(actual: dict[int, Any], expected: dict[str, Any]) -> None:
    assert [str(index) for index in actual] == list(expected)
    for index, state in zip(actual, expected.values(), strict=True):
        assert actual[index]["step"] == state["step"]
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(actual[index][key], state[key], rtol=1e-5, atol=1e-8)


def test_eve_continues_from_its_saved_state_exactly() -> None:
    torch.manual_seed(0)
    grads = torch.randn(6, 3, 4)

    def run(parameter: Tensor, optimizer: Eve, part: slice) -> None:
        for grad in grads[part]:
            parameter.grad = grad.clone()
            optimizer.step()

    whole, first = (nn.Parameter(torch.ones(3, 4)) for _ in range(2))
    run(whole, Eve([whole]), slice(None))
    optimizer = Eve([first])
    run(first, optimizer, slice(3))
    second = nn.Parameter(first.detach().clone())
    resumed = Eve([second])
    resumed.load_state_dict(optimizer.state_dict())
    run(second, resumed, slice(3, None))
    assert torch.equal(whole, second)


@pytest.mark.parametrize("number", range(3))
def test_eden_follows_the_golden_trace(optimization: dict[str, Any], number: int) -> None:
    golden = optimization["eden"][number]
    optimizer = Eve([nn.Parameter(torch.zeros(2))], lr=golden["lr"])
    scheduler = Eden(optimizer, golden["lr_batches"], golden["lr_epochs"])
    for call, argument, rate in golden["trace"]:
        if call != "init":
            getattr(scheduler, call)(argument)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-12)
    assert scheduler.state_dict() == golden["state_dict"]


def test_eden_continues_from_its_saved_state() -> None:
    optimizer = Eve([nn.Parameter(torch.zeros(2))], lr=0.1)
    scheduler = Eden(optimizer, 10, 2)
    scheduler.step_epoch(3)
    scheduler.step_batch(25)
    fresh = Eve([nn.Parameter(torch.zeros(2))], lr=0.1)
    Eden(fresh, 10, 2).load_state_dict(scheduler.state_dict())
    assert fresh.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
