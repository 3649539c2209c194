"""Relative positions and what attention does where everything is hidden."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from calve_pruned_transducer.attention import RelativePositionAttention, relative_positions
from calve_pruned_transducer.blocks import PLAIN_BLOCKS, REWORKED_BLOCKS, Blocks

BLOCKS = pytest.mark.parametrize("blocks", [PLAIN_BLOCKS, REWORKED_BLOCKS], ids=["plain", "new"])


def test_positions_count_from_the_furthest_left_key_to_the_furthest_right_one() -> None:
    positions = relative_positions(2, 3, torch.zeros(1, 4))[0]
    distances = [4, 3, 2, 1, 0, -1]
    assert_close(positions[:, 0], torch.tensor([math.sin(d) for d in distances]))
    assert_close(positions[:, 3], torch.tensor([math.cos(d / 100) for d in distances]))


def test_positions_are_exact_in_mixed_precision() -> None:
    exact = relative_positions(400, 64, torch.zeros(1, 16))
    rounded = relative_positions(400, 64, torch.zeros(1, 16, dtype=torch.bfloat16))
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())


@BLOCKS
@torch.no_grad()
def test_a_cache_stands_for_the_frames_in_front(blocks: Blocks) -> None:
    torch.manual_seed(0)
    attention = RelativePositionAttention(8, 2, blocks)
    x = torch.randn(1, 7, 8)
    nothing = torch.zeros(1, 1, 7, dtype=torch.bool)
    whole, _ = attention(x, relative_positions(7, 0, x), nothing)
    for cached in range(1, 7):
        new, inputs = attention(
            x[:, cached:], relative_positions(7 - cached, cached, x), nothing, x[:, :cached]
        )
        assert_close(new, whole[:, cached:], rtol=0.0, atol=1e-5)
        assert torch.equal(inputs, x)


@BLOCKS
def test_a_query_from_which_everything_is_hidden_gets_zeros_and_finite_gradients(
    blocks: Blocks,
) -> None:
    attention = RelativePositionAttention(8, 2, blocks)
    x = torch.randn(2, 3, 8, requires_grad=True)
    hidden = torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[1, 2] = True
    y, _ = attention(x, relative_positions(3, 0, x), hidden)
    nothing = attention.out_proj(torch.zeros(8))
    assert torch.equal(y[1, 2], nothing)
    assert not torch.equal(y[1, 1], nothing)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
