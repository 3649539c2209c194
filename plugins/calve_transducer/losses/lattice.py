"""Sum over all paths through a transducer lattice, and the occupation of each arc.

A lattice of one utterance has nodes (s, t), 0 <= s <= S symbols emitted, 0 <= t <= T frames
consumed. ``py[s, t]`` is the log probability of blank, the arc (s, t) -> (s, t + 1). ``px[s, t]``
is that of the next symbol: the arc (s, t) -> (s + 1, t) in a *regular* lattice (Graves 2012), (s,
t) -> (s + 1, t + 1) in a *modified* one, where a symbol also consumes its frame. The shapes
distinguish them: px has T + 1 columns in a regular lattice and T in a modified one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calve_transducer.losses import compiled, wavefront

__all__ = ["lattice_score"]


class _LatticeScore(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, px: Tensor, py: Tensor, boundary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        recursion = wavefront if px.is_cuda else compiled
        scores, px_grad, py_grad = recursion.forward_backward(px, py, boundary)
        ctx.save_for_backward(px_grad, py_grad)
        ctx.mark_non_differentiable(px_grad, py_grad)
        return scores, px_grad, py_grad

    @staticmethod
    def backward(ctx: Any, scores_grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        px_grad, py_grad = ctx.saved_tensors
        scale = scores_grad.reshape(-1, 1, 1)
        return scale * px_grad, scale * py_grad, None


def lattice_score(px: Tensor, py: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log of the summed probability of all paths, per utterance.

    Args:
      px: Symbol log probabilities, (B, S, T + 1) if regular or (B, S, T) if modified.
      py: Blank log probabilities, (B, S + 1, T).
      boundary: (B, 4) int64, rows ``[s_begin, t_begin, s_end, t_end]``: the nodes at which the
        paths of an utterance begin and end.

    Returns:
      ``scores`` (B,), -inf where no path exists; and the arcs' occupation probabilities
      ``px_grad`` and ``py_grad``, shaped as px and py, which are the derivatives of the scores.
      Arcs outside the boundary, and all arcs of an utterance without a path, have exactly 0.
    """
    return _LatticeScore.apply(px, py, boundary)  # type: ignore[no-any-return, no-untyped-call]
