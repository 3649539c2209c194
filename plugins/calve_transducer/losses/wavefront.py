"""The lattice recursion in whole-tensor operations, for devices without numba.

All nodes on one wavefront are computed at once, for all utterances: T steps in a modified lattice.
A regular lattice becomes one after skewing: in the coordinates (s, s + t) both kinds of arc advance
by one, at the price of S + T steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["forward_backward"]


def _skew(arcs: Tensor, num_steps: int, offset: int = 0) -> Tensor:
    """(B, S, T) -> (B, S, num_steps): row s moves right by s, gaps are filled with -inf."""
    _, rows, columns = arcs.shape
    source = torch.arange(num_steps, device=arcs.device) - torch.arange(
        rows, device=arcs.device
    ).unsqueeze(1)
    inside = (source >= 0) & (source < columns)
    index = source.clamp(0, columns - 1).expand(arcs.shape[0], rows, num_steps)
    return arcs.gather(2, index).masked_fill(~inside, -math.inf)


def _unskew(arcs: Tensor, columns: int) -> Tensor:
    """Inverse of `_skew`: (B, S, K) -> (B, S, columns)."""
    rows = arcs.shape[1]
    target = torch.arange(columns, device=arcs.device) + torch.arange(
        rows, device=arcs.device
    ).unsqueeze(1)
    return arcs.gather(2, target.expand(arcs.shape[0], rows, columns))


def forward_backward(px: Tensor, py: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `calve_transducer.losses.lattice.lattice_score`."""
    num_symbols, num_frames = px.shape[1], py.shape[2]
    if px.shape[2] == num_frames:
        return _advance_together(px, py, boundary)
    num_steps = num_symbols + num_frames + 1
    skewed = boundary.clone()
    skewed[:, 1] += boundary[:, 0]
    skewed[:, 3] += boundary[:, 2]
    scores, px_grad, py_grad = _advance_together(_skew(px, num_steps), _skew(py, num_steps), skewed)
    return scores, _unskew(px_grad, num_frames + 1), _unskew(py_grad, num_frames)


def _advance_together(px: Tensor, py: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both arcs of a node lead to the next column; px (B, S, K), py (B, S + 1, K)."""
    batch_size, rows, num_steps = py.shape
    utterance = torch.arange(batch_size, device=py.device)
    s_begin, t_begin, s_end, t_end = boundary.unbind(1)
    alpha = py.new_full((batch_size, rows, num_steps + 1), -math.inf)
    alpha[utterance, s_begin, t_begin] = 0.0
    for step in range(num_steps):
        arrived = alpha[:, :, step] + py[:, :, step]
        arrived[:, 1:] = torch.logaddexp(arrived[:, 1:], alpha[:, :-1, step] + px[:, :, step])
        alpha[:, :, step + 1] = torch.logaddexp(arrived, alpha[:, :, step + 1])
    scores = alpha[utterance, s_end, t_end]

    share = torch.zeros_like(alpha)
    share[utterance, s_end, t_end] = (scores != -math.inf).to(py.dtype)
    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    for step in reversed(range(num_steps)):
        # A node that no path reaches has share 0; a finite score prevents a NaN quotient.
        after = alpha[:, :, step + 1]
        after = after.masked_fill(after == -math.inf, 0.0)
        blank = share[:, :, step + 1] * (alpha[:, :, step] + py[:, :, step] - after).exp()
        symbol = (
            share[:, 1:, step + 1] * (alpha[:, :-1, step] + px[:, :, step] - after[:, 1:]).exp()
        )
        py_grad[:, :, step], px_grad[:, :, step] = blank, symbol
        share[:, :, step] += blank
        share[:, :-1, step] += symbol
    return scores, px_grad, py_grad
