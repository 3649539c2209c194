from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from calve_transducer.training.adam import GroupOptimizer
from calve_transducer.training.optimizer import Eve
from calve_transducer.training.scaled_adam import ScaledAdam


@pytest.fixture(params=[Eve, ScaledAdam])
def make(request: pytest.FixtureRequest) -> Callable[..., GroupOptimizer]:
    return request.param


def test_a_step_takes_the_gradients_and_returns_the_loss_of_its_closure(
    make: Callable[..., GroupOptimizer],
) -> None:
    parameter, given = (nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    optimizer = make([parameter])

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 6.0
    given.grad = torch.full((2, 3), 2.0)
    assert make([given]).step() is None
    assert torch.equal(parameter, given)
    assert not torch.equal(parameter, torch.ones(2, 3))


def test_parameters_without_a_gradient_stay_as_they_are(
    make: Callable[..., GroupOptimizer],
) -> None:
    used, unused, frozen = (nn.Parameter(torch.ones(2)) for _ in range(3))
    used.grad = torch.ones(2)
    optimizer = make([{"params": [used, unused]}, {"params": [frozen]}])
    optimizer.step()
    assert not torch.equal(used, torch.ones(2))
    assert torch.equal(unused, torch.ones(2))
    assert torch.equal(frozen, torch.ones(2))
    assert set(optimizer.state) == {used}
