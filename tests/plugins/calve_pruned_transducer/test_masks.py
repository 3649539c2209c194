"""What is hidden from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from calve_pruned_transducer.masks import (
    cache_mask,
    chunk_mask,
    padding_mask,
    random_chunk_mask,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    return torch.load(goldens / "pruned_transducer_stateless2.encoder.pt", weights_only=True)


def test_chunks_hide_what_icefalls_chunks_hide(golden: dict[str, Any]) -> None:
    for case in golden["chunk_masks"]:
        chunk_size, left_chunks = case["chunk_size"], case["num_left_chunks"]
        left_context = -1 if left_chunks < 0 else left_chunks * chunk_size
        hidden = chunk_mask(case["size"], chunk_size, left_context, CPU)
        assert torch.equal(hidden, ~case["mask"])


def test_padding_is_what_icefall_masks(golden: dict[str, Any]) -> None:
    case = golden["pad_mask"]
    assert torch.equal(padding_mask(case["lengths"], case["mask"].size(1)), case["mask"])
    assert torch.equal(padding_mask(case["lengths"], case["max_len"]), case["mask_max_len_6"])


def test_a_left_context_need_not_be_whole_chunks() -> None:
    seen = ~chunk_mask(6, 2, 3, CPU)
    assert seen.int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1],
    ]


def test_a_chunk_of_minus_one_hides_nothing() -> None:
    assert not chunk_mask(5, -1, 2, CPU).any()


def test_the_newest_slots_of_a_cache_are_filled_first() -> None:
    hidden = cache_mask(torch.tensor([0.0, 1.0, 3.0, 9.0]), 3)
    assert hidden.int().tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_random_chunks_are_short_or_hide_nothing() -> None:
    torch.manual_seed(0)
    masks = [random_chunk_mask(40, 5, 2, CPU) for _ in range(400)]
    whole = sum(not mask.any() for mask in masks) / len(masks)
    assert whole == pytest.approx(0.25, abs=0.07)
    expected = [chunk_mask(40, size, 2 * size, CPU) for size in range(1, 6)]
    for mask in masks:
        assert not mask.any() or any(torch.equal(mask, other) for other in expected)


@pytest.mark.parametrize("size", [1, 2])
def test_very_short_utterances_are_possible(size: int) -> None:
    assert random_chunk_mask(size, 5, -1, CPU).shape == (size, size)
