"""Pruning: the symbol positions that each frame keeps, and the network outputs there."""

from __future__ import annotations

import torch
from torch import Tensor

from calve.api import ConfigError

__all__ = ["do_rnnt_pruning", "get_rnnt_prune_ranges"]


def get_rnnt_prune_ranges(
    px_grad: Tensor, py_grad: Tensor, boundary: Tensor | None, s_range: int
) -> Tensor:
    """Return for each frame the window of ``s_range`` symbol positions with the most paths.

    Args:
      px_grad: Symbol arcs' occupation, (B, S, T + 1) or (B, S, T), from a loss' ``return_grad``.
      py_grad: Blank arcs' occupation, (B, S + 1, T).
      boundary: (B, 4) as for the losses, or None.
      s_range: Positions to keep: at least 2, or 1 if the lattice is modified.

    Returns:
      (B, T, r) int64, r = min(s_range, S + 1). A window never moves back, and moves by less than
      its width from one frame to the next (at most by one if the lattice is modified), so that
      the kept nodes are connected.
    """
    rows, num_frames = py_grad.shape[1:]
    regular = px_grad.shape[2] == num_frames + 1
    if s_range < (2 if regular else 1):
        raise ConfigError(f"a prune range of {s_range} keeps no path", fix="raise prune_range")
    s_range = min(s_range, rows)
    # Mass that leaves the window by blank, minus mass that enters its first row by a symbol.
    leaving = py_grad.unfold(1, s_range, 1).sum(dim=3)
    entering = torch.nn.functional.pad(px_grad[:, :, :num_frames], (0, 0, 1, 0))
    begin = (leaving - entering[:, : leaving.shape[1]]).argmax(dim=1)
    if boundary is None:
        boundary = boundary_or_full(None, py_grad)
    # From its last frame on, an utterance must be able to reach its last symbol.
    frame = torch.arange(num_frames, device=py_grad.device)
    last = (boundary[:, 2] - s_range + 1).clamp(min=0).unsqueeze(1)
    begin = torch.where(frame < boundary[:, 3:] - 1, begin, last)
    begin = _connect(begin, max_move=s_range - 1 if regular else 1)
    return begin.unsqueeze(2) + torch.arange(s_range, device=py_grad.device)


def boundary_or_full(boundary: Tensor | None, py: Tensor) -> Tensor:
    """Return the boundary; if it is None, that of py (B, S + 1, T) without padding."""
    if boundary is not None:
        return boundary
    full = torch.tensor([0, 0, py.shape[1] - 1, py.shape[2]], device=py.device)
    return full.expand(py.shape[0], 4)


def _connect(begin: Tensor, max_move: int) -> Tensor:
    """Make the window starts (B, T) monotonic, with steps of at most ``max_move``."""
    begin = _suffix_min(begin)
    slope = max_move * torch.arange(begin.shape[1], device=begin.device)
    return slope - _suffix_min(slope - begin).clamp(min=0)


def _suffix_min(values: Tensor) -> Tensor:
    return values.flip(1).cummin(dim=1).values.flip(1)


def do_rnnt_pruning(am: Tensor, lm: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """The networks' outputs on the kept positions.

    Args:
      am: (B, T, C).
      lm: (B, S + 1, C).
      ranges: (B, T, r).

    Returns:
      am (a view that repeats each frame) and lm, both (B, T, r, C).
    """
    batch_size, num_frames, s_range = ranges.shape
    rows = lm.shape[1]
    first = rows * torch.arange(batch_size, device=lm.device).reshape(-1, 1, 1)
    kept = lm.flatten(0, 1).index_select(0, (ranges + first).flatten())
    return (
        am.unsqueeze(2).expand(-1, -1, s_range, -1),
        kept.reshape(batch_size, num_frames, s_range, lm.shape[2]),
    )
