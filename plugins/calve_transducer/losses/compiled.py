"""The lattice recursion on CPU, compiled by numba; threads share the utterances."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calve_transducer.compilation import compiled

__all__ = ["forward_backward"]

_CELLS_WORTH_A_THREAD = 20_000


@compiled
def _log_add(a: float, b: float) -> float:
    if a == -math.inf:
        return b
    if b == -math.inf:
        return a
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


@compiled
def _utterances(
    px: NDArray[Any],
    py: NDArray[Any],
    boundary: NDArray[np.int64],
    step: int,
    scores: NDArray[Any],
    px_grad: NDArray[Any],
    py_grad: NDArray[Any],
) -> None:
    for b in range(px.shape[0]):
        s0, t0, s1, t1 = boundary[b]
        alpha = np.full((s1 - s0 + 1, t1 - t0 + 1), -math.inf)
        alpha[0, 0] = 0.0
        for s in range(s0, s1 + 1):
            row = alpha[s - s0]
            for t in range(t0, t1 + 1):
                score = row[t - t0]
                if s > s0 and t - step >= t0:
                    score = _log_add(
                        score, alpha[s - s0 - 1, t - t0 - step] + px[b, s - 1, t - step]
                    )
                if t > t0:
                    score = _log_add(score, row[t - t0 - 1] + py[b, s, t - 1])
                row[t - t0] = score
        scores[b] = alpha[s1 - s0, t1 - t0]
        if scores[b] == -math.inf:
            continue
        # Walk back: a node's share of all paths splits over its arcs in proportion to their mass.
        share = np.zeros_like(alpha)
        share[s1 - s0, t1 - t0] = 1.0
        for s in range(s1, s0 - 1, -1):
            for t in range(t1, t0 - 1, -1):
                here = share[s - s0, t - t0]
                if here == 0.0:
                    continue
                score = alpha[s - s0, t - t0]
                if s > s0 and t - step >= t0:
                    before = alpha[s - s0 - 1, t - t0 - step] + px[b, s - 1, t - step]
                    used = here * math.exp(before - score)
                    px_grad[b, s - 1, t - step] = used
                    share[s - s0 - 1, t - t0 - step] += used
                if t > t0:
                    before = alpha[s - s0, t - t0 - 1] + py[b, s, t - 1]
                    used = here * math.exp(before - score)
                    py_grad[b, s, t - 1] = used
                    share[s - s0, t - t0 - 1] += used


def forward_backward(px: Tensor, py: Tensor, boundary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `calve_transducer.losses.lattice.lattice_score`; sums are kept in float64."""
    batch_size, _, num_frames = py.shape
    step = 0 if px.shape[2] == num_frames + 1 else 1
    px, py, boundary = px.detach().contiguous(), py.detach().contiguous(), boundary.contiguous()
    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    scores = px.new_empty(batch_size)
    arrays = [tensor.numpy() for tensor in (px, py, boundary, scores, px_grad, py_grad)]

    def work(part: slice) -> None:
        px_, py_, boundary_, *outputs = (array[part] for array in arrays)
        _utterances(px_, py_, boundary_, step, *outputs)

    threads = min(torch.get_num_threads(), batch_size, py.numel() // _CELLS_WORTH_A_THREAD)
    if threads <= 1:
        work(slice(None))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, (slice(k, None, threads) for k in range(threads))))
    return scores, px_grad, py_grad
