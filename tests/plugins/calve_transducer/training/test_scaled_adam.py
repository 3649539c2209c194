from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calve_transducer.training.scaled_adam import ScaledAdam


def stepped(start: Tensor, grads: Tensor, **options: Any) -> Tensor:
    """A parameter after one step for each gradient."""
    parameter = nn.Parameter(start.clone())
    optimizer = ScaledAdam([parameter], **options)
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    return parameter.detach()


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


@pytest.mark.parametrize("factor", [0.01, 8.0])
def test_a_larger_tensor_takes_steps_as_much_larger(factor: float) -> None:
    torch.manual_seed(0)
    start, grads = 0.1 * torch.randn(6, 5, dtype=torch.float64), torch.randn(30, 6, 5).double()
    plain = stepped(start, grads)
    # What a loss of ``w / factor`` gives: the same model, written in larger weights.
    scaled = stepped(factor * start, grads / factor, max_rms=1e9, eps=1e-30)
    torch.testing.assert_close(scaled, factor * plain, rtol=1e-5, atol=1e-8)


def test_the_learning_rate_is_the_relative_change_of_a_step() -> None:
    torch.manual_seed(0)
    start = 0.7 * torch.randn(40, 50)
    moved = stepped(start, torch.randn(1, 40, 50), lr=0.01, scalar_lr_scale=0.0)
    assert rms(moved - start) / rms(start) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_size_is_learnt_by_a_tenth_of_the_learning_rate(sign: float) -> None:
    torch.manual_seed(0)
    start = torch.randn(30, 30)
    # Along the tensor itself, through signs that Adam's own step averages out.
    noise = torch.randn(60, 30, 30)
    grads = sign * 0.05 * start + noise - (noise * start).mean((1, 2), keepdim=True) * start
    with_size = stepped(start, grads, lr=0.02)
    without = stepped(start, grads, lr=0.02, scalar_lr_scale=0.0)
    expected = (1.0 - sign * 0.1 * 0.02) ** 60
    assert rms(with_size) / rms(without) == pytest.approx(expected, rel=0.02)


def test_a_scalar_takes_small_steps_of_adam_and_stays_in_range() -> None:
    moved = stepped(torch.tensor(5.0), torch.full((3,), -2.0), lr=0.1)
    assert float(moved) == pytest.approx(5.0 + 3 * 0.1 * 0.1)
    assert float(stepped(torch.tensor(9.95), torch.full((20,), -1.0), lr=0.1)) == 10.0


def test_no_tensor_is_made_to_grow_beyond_its_largest_size() -> None:
    start = torch.full((4, 4), 2.9)
    grown = stepped(start, -start.expand(200, 4, 4), lr=0.05, scalar_lr_scale=1.0)
    # Adam's own step may still go beyond it, and the size follows back.
    assert rms(grown) < 3.0 * 1.06


def test_zeros_begin_to_move() -> None:
    moved = stepped(torch.zeros(3, 3), torch.ones(5, 3, 3))
    assert bool(moved.isfinite().all())
    assert bool((moved < 0).all())


def test_a_gradient_far_above_the_median_is_shortened() -> None:
    torch.manual_seed(0)
    grads = torch.randn(40, 8, 8)
    grads[25] *= 1000
    shortened = grads.clone()
    # Clipped, it is twice as long as the median; the running means see no more than that.
    start = torch.randn(8, 8)
    clipped, clean = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first, second = ScaledAdam([clipped]), ScaledAdam([clean], clipping_scale=0.0)
    for number, (grad, short) in enumerate(zip(grads, shortened, strict=True)):
        if number == 25:
            norms = sorted(first.param_groups[0]["recent_norms"])
            median = (norms[12] + norms[12]) / 2
            short *= 2 * median / (short.norm() * clean.detach().square().mean().sqrt())
        clipped.grad, clean.grad = grad.clone(), short.clone()
        first.step()
        second.step()
        torch.testing.assert_close(clipped, clean, rtol=1e-4, atol=1e-5)


def test_only_recent_gradients_count() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = ScaledAdam([parameter], clipping_period=7)
    for _ in range(20):
        parameter.grad = torch.ones(2, 2)
        optimizer.step()
    assert len(optimizer.param_groups[0]["recent_norms"]) == 7


def test_it_continues_from_its_saved_state_exactly() -> None:
    torch.manual_seed(0)
    grads = torch.randn(40, 3, 4)
    grads[30] *= 100

    def run(parameters: list[nn.Parameter], optimizer: ScaledAdam, part: slice) -> None:
        for grad in grads[part]:
            for parameter in parameters:
                parameter.grad = grad[: len(parameter), 0].clone() if parameter.ndim == 1 else grad
            optimizer.step()

    start = [torch.ones(3, 4), torch.zeros(1)]
    whole = [nn.Parameter(value.clone()) for value in start]
    run(whole, ScaledAdam(whole), slice(None))
    parts = [nn.Parameter(value.clone()) for value in start]
    optimizer = ScaledAdam(parts)
    run(parts, optimizer, slice(25))
    resumed = ScaledAdam(parts)
    resumed.load_state_dict(optimizer.state_dict())
    run(parts, resumed, slice(25, None))
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_it_minimizes() -> None:
    torch.manual_seed(0)
    x, true = torch.randn(500, 8), torch.randn(8, 3)
    layer = nn.Linear(8, 3)
    optimizer = ScaledAdam(layer.parameters())
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.045 * (1 + (step / 50) ** 2) ** -0.25
        optimizer.zero_grad()
        loss = (layer(x) - x @ true).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
