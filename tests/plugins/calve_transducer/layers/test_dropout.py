from __future__ import annotations

import pytest
import torch

from calve_transducer.layers.conversion import to_plain
from calve_transducer.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_wanted_share_is_dropped_and_the_rest_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(400, 501))
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.03)
    assert y.unique().numel() == 2


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(200_000)) != 0).float() - 0.5
    # Four neighbors come from one random number.
    for distance in (1, 2, 3, 4):
        assert abs(float((kept[:-distance] * kept[distance:]).mean())) < 0.25 * 0.02


def test_gradients_flow_where_values_did() -> None:
    x = torch.randn(7, 11, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())


def test_the_seed_decides_and_the_next_call_drops_others() -> None:
    dropout, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_or_everything_can_be_dropped(p: float, expected: float) -> None:
    assert torch.equal(Dropout(p)(torch.ones(9)), torch.full((9,), expected))


def test_it_is_the_identity_outside_training_and_plain_in_an_export() -> None:
    dropout = Dropout(0.5)
    plain = to_plain(dropout)
    assert type(plain) is torch.nn.Dropout
    x = torch.ones(9)
    assert torch.equal(plain(x), x)
    assert torch.equal(dropout.eval()(x), x)
