"""ScaledAdam, the optimizer of Zipformer (Yao et al. 2023, https://arxiv.org/abs/2310.11230)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from calve_transducer.training.adam import GroupOptimizer, means_and_denominators

__all__ = ["ScaledAdam"]

_LARGEST_SCALE_STEP = 0.1
_NORMS_BEFORE_CLIPPING = 10


class ScaledAdam(GroupOptimizer):
    """Adam with steps in proportion to the size of each tensor, and with learned sizes.

    The step of a tensor is Adam's step times the tensor's root mean square, so that the learning
    rate is the relative change per step for tensors of any size. The size is learned in addition,
    as if the tensor were multiplied by the exponential of another parameter. The gradient of that
    parameter is the product of tensor and gradient, and ``scalar_lr_scale`` is a factor of its Adam
    step. A tensor of one element takes Adam's step times ``scalar_lr_scale``.

    Args:
      params: Parameters or parameter groups.
      lr: Learning rate; Zipformer starts at 0.045.
      betas: Decay of the running means of the gradient and of its square.
      eps: Added to the denominators.
      scalar_lr_scale: See above.
      min_rms: The root mean square does not shrink below this.
      max_rms: The learned size does not grow above this.
      max_scalar: Largest absolute value of a tensor of one element.
      clipping_scale: Gradients are clipped to this multiple of the median norm of the recent
        gradients. The norm weights each tensor's gradient by the tensor's root mean square. 0 for
        no clipping.
      clipping_period: Number of recent gradients.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.045,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        scalar_lr_scale: float = 0.1,
        min_rms: float = 1e-5,
        max_rms: float = 3.0,
        max_scalar: float = 10.0,
        clipping_scale: float = 2.0,
        clipping_period: int = 100,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "scalar_lr_scale": scalar_lr_scale,
            "min_rms": min_rms,
            "max_rms": max_rms,
            "max_scalar": max_scalar,
            "clipping_scale": clipping_scale,
            "clipping_period": clipping_period,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            # Stored in the group, so that it is saved with it.
            group["recent_norms"] = []

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._counted_state(parameter) for parameter in parameters]
        rms = _root_mean_squares(parameters)
        sizes = [
            group["scalar_lr_scale"] if parameter.numel() == 1 else size.clamp(min=group["min_rms"])
            for parameter, size in zip(parameters, rms, strict=True)
        ]
        grads = _clipped([p.grad for p in parameters if p.grad is not None], sizes, group)
        directions = _directions(grads, states, "exp_avg", group)
        matrices = [row for row, parameter in enumerate(parameters) if parameter.numel() > 1]
        growths = _growths(
            [parameters[row] for row in matrices],
            [grads[row] for row in matrices],
            [states[row] for row in matrices],
            [rms[row] for row in matrices],
            group,
        )
        for row, growth in zip(matrices, growths, strict=True):
            parameters[row].mul_(1.0 + growth)
        for parameter, direction, size in zip(parameters, directions, sizes, strict=True):
            parameter.sub_(direction.mul_(group["lr"] * size))
            if parameter.numel() == 1:
                parameter.clamp_(-group["max_scalar"], group["max_scalar"])

    def _counted_state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter)
                if parameter.numel() > 1:
                    state[f"scale_{name}"] = parameter.new_zeros(())
        state["step"] += 1
        return state


def _root_mean_squares(tensors: Sequence[Tensor]) -> list[Tensor]:
    norms = torch._foreach_norm(list(tensors))
    return [norm / math.sqrt(t.numel()) for norm, t in zip(norms, tensors, strict=True)]


def _clipped(
    grads: list[Tensor], sizes: Sequence[Tensor | float], group: dict[str, Any]
) -> list[Tensor]:
    """Return the gradients, scaled down together if their norm is far above the recent ones."""
    weighed = [norm * size for norm, size in zip(torch._foreach_norm(grads), sizes, strict=True)]
    norm = float(torch.stack(weighed).norm())
    recent: list[float] = group["recent_norms"]
    limit = group["clipping_scale"] * median(recent) if recent else 0.0
    group["recent_norms"] = [*recent, norm][-group["clipping_period"] :]
    if len(recent) < _NORMS_BEFORE_CLIPPING or not 0.0 < limit < norm:
        return grads
    return list(torch._foreach_mul(grads, limit / norm))


def _directions(
    grads: list[Tensor], states: Sequence[dict[str, Any]], name: str, group: dict[str, Any]
) -> list[Tensor]:
    """Return Adam's directions; updates the running means ``name`` and ``name_sq``."""
    means, denominators = means_and_denominators(grads, states, group, name)
    beta1, _ = group["betas"]
    directions = list(torch._foreach_div(means, denominators))
    torch._foreach_mul_(directions, [1 / (1 - beta1 ** state["step"]) for state in states])
    return directions


def _growths(
    tensors: list[Tensor],
    grads: list[Tensor],
    states: Sequence[dict[str, Any]],
    rms: Sequence[Tensor],
    group: dict[str, Any],
) -> list[Tensor]:
    """Return the relative growth of each tensor; negative if it shrinks."""
    if not tensors:
        return []
    scale_grads = [(tensor * grad).sum() for tensor, grad in zip(tensors, grads, strict=True)]
    directions = torch.stack(_directions(scale_grads, states, "scale_exp_avg", group))
    growths = -group["lr"] * group["scalar_lr_scale"] * directions
    growths = growths.clamp(-_LARGEST_SCALE_STEP, _LARGEST_SCALE_STEP)
    sizes = torch.stack(list(rms))
    growths = torch.where(sizes < group["min_rms"], growths.relu(), growths)
    # A tensor of zeros changes by its own step only.
    room = group["max_rms"] / sizes.clamp(min=group["min_rms"]) - 1.0
    return list(torch.minimum(growths, room).unbind())
