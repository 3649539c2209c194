"""Shared parts of Eve and ScaledAdam: the loop over parameter groups, and Adam's means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["GroupOptimizer", "means_and_denominators"]


class GroupOptimizer(torch.optim.Optimizer, ABC):
    """An optimizer that updates all parameters of a group at once; subclasses define the update."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient.

        Args:
          closure: Computes loss and gradients anew, if given.

        Returns:
          The closure's loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    @abstractmethod
    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update ``parameters``: the parameters of ``group`` that have a gradient."""


def means_and_denominators(
    grads: list[Tensor],
    states: Sequence[dict[str, Any]],
    group: dict[str, Any],
    name: str = "exp_avg",
) -> tuple[list[Tensor], list[Tensor]]:
    """Update Adam's running means ``name`` and ``name_sq`` with one gradient each.

    Returns:
      The means of the gradients, without bias correction, and Adam's denominators: the square roots
      of the bias-corrected means of the squares, plus ``eps``.
    """
    means = [state[name] for state in states]
    squares = [state[f"{name}_sq"] for state in states]
    beta1, beta2 = group["betas"]
    torch._foreach_lerp_(means, grads, 1.0 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, grads, grads, 1.0 - beta2)
    denominators = list(torch._foreach_sqrt(squares))
    torch._foreach_mul_(denominators, [(1 - beta2 ** state["step"]) ** -0.5 for state in states])
    torch._foreach_add_(denominators, group["eps"])
    return means, denominators
