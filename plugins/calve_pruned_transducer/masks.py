"""Attention masks. True hides a key from a query, or marks a frame as padding."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cache_mask", "chunk_mask", "padding_mask", "random_chunk_mask"]


def padding_mask(lens: Tensor, size: int) -> Tensor:
    """lens (N,) -> (N, size), True from each length on."""
    return torch.arange(size, device=lens.device) >= lens.unsqueeze(1)


def chunk_mask(size: int, chunk_size: int, left_context: int, device: torch.device) -> Tensor:
    """Mask of attention in chunks: (size, size), queries by keys.

    A query sees its whole chunk and the left context before the chunk.

    Args:
      size: Number of frames.
      chunk_size: Frames per chunk; -1 hides nothing.
      left_context: Visible frames before the chunk; -1 for all.
    """
    if chunk_size < 0:
        return torch.zeros(size, size, dtype=torch.bool, device=device)
    keys = torch.arange(size, device=device)
    start = (keys // chunk_size * chunk_size).unsqueeze(1)
    hidden = keys >= start + chunk_size
    if left_context >= 0:
        hidden = hidden | (keys < start - left_context)
    return hidden


def random_chunk_mask(
    size: int,
    short_chunk_size: int,
    num_left_chunks: int,
    device: torch.device,
    long_chunk: float = 0.75,
) -> Tensor:
    """`chunk_mask` with a random chunk size, as in dynamic chunk training.

    About a quarter of the masks hide nothing ("Unified Streaming and Non-streaming Two-pass
    End-to-end Model for Speech Recognition", Zhang et al., 2020).

    Args:
      size: Number of frames.
      short_chunk_size: Largest random chunk, apart from the whole utterance.
      num_left_chunks: Visible chunks before a chunk; -1 for all.
      long_chunk: A chunk of more than this share of the utterance becomes the whole utterance.
    """
    drawn = int(torch.randint(1, size, (1,)).item()) if size > 1 else size
    if drawn > size * long_chunk:
        return chunk_mask(size, size, -1, device)
    chunk_size = drawn % short_chunk_size + 1
    left_context = num_left_chunks * chunk_size if num_left_chunks >= 0 else -1
    return chunk_mask(size, chunk_size, left_context, device)


def cache_mask(processed: Tensor, left_context: int) -> Tensor:
    """Mask of the slots of an attention cache that are not filled: (N,) -> (N, left_context)."""
    age = torch.arange(left_context, 0, -1, device=processed.device)
    return processed.unsqueeze(1) < age
