"""Optimizers, and Eden, the learning rate schedule that icefall's recipes use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from calve_transducer.training.adam import GroupOptimizer, means_and_denominators
from calve_transducer.training.scaled_adam import ScaledAdam

__all__ = ["Eden", "Eve", "make_optimizer"]

_BETAS = (0.9, 0.98)
_SCALAR_RANGE = (-10.0, 2.0)


def make_optimizer(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Create the optimizer that ``--optimizer-type`` names, for all parameters of a model.

    Args:
      name: "eve", "scaled_adam" or "adamw"; weight decay of the last applies to matrices, not to
        biases and scales.
      lr: Learning rate at the start.
    """
    if name == "eve":
        return Eve(model.parameters(), lr=lr)
    if name == "scaled_adam":
        return ScaledAdam(model.parameters(), lr=lr)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=_BETAS)


class Eve(GroupOptimizer):
    """Adam for scaled layers: weight decay works only on weights that have grown too large.

    In each step, a tensor of more than one element whose root mean square exceeds ``target_rms`` is
    multiplied by ``1 - weight_decay``, whatever the learning rate. A tensor of one element is the
    logarithm of a scale and is kept between -10 and 2.

    Args:
      params: Parameters or parameter groups.
      lr: Learning rate.
      betas: Decay of the running means of the gradient and of its square.
      eps: Added to the denominator.
      weight_decay: See above.
      target_rms: See above.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = _BETAS,
        eps: float = 1e-8,
        weight_decay: float = 1e-3,
        target_rms: float = 0.1,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "target_rms": target_rms,
        }
        super().__init__(params, defaults)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._counted_state(parameter) for parameter in parameters]
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means, denominators = means_and_denominators(grads, states, group)
        self._decay_large_weights([p for p in parameters if p.numel() > 1], group)
        beta1, _ = group["betas"]
        step_sizes = [-group["lr"] / (1 - beta1 ** state["step"]) for state in states]
        torch._foreach_addcdiv_(parameters, means, denominators, step_sizes)
        scalars = [parameter for parameter in parameters if parameter.numel() == 1]
        if scalars:
            torch._foreach_clamp_min_(scalars, _SCALAR_RANGE[0])
            torch._foreach_clamp_max_(scalars, _SCALAR_RANGE[1])

    def _counted_state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return state

    @staticmethod
    def _decay_large_weights(weights: list[Tensor], group: dict[str, Any]) -> None:
        if not weights:
            return
        norms = torch.stack(torch._foreach_norm(weights))
        limits = norms.new_tensor([group["target_rms"] * w.numel() ** 0.5 for w in weights])
        factors = 1.0 - group["weight_decay"] * (norms > limits).to(norms.dtype)
        torch._foreach_mul_(weights, list(factors.unbind()))


class Eden:
    """A learning rate that falls smoothly with the batch and with the epoch.

    It is ``lr * (1 + (batch / lr_batches)^2)^-0.25 * (1 + (epoch / lr_epochs)^2)^-0.25``, and rises
    from half of that to the full value over the first ``warmup_batches``. Call `step_batch` before
    each step of the optimizer and `step_epoch` before each epoch.

    Args:
      optimizer: The optimizer whose learning rates are set; the present ones are the base.
      lr_batches: Number of batches after which the rate begins to fall noticeably.
      lr_epochs: The same in epochs.
      warmup_batches: See above; 0 for none.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        lr_batches: float,
        lr_epochs: float,
        warmup_batches: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.warmup_batches = warmup_batches
        self.lr_batches = lr_batches
        self.lr_epochs = lr_epochs
        self.epoch = 0
        self.batch = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]

    def step_batch(self, batch: int | None = None) -> None:
        """Set the rate for batch number ``batch``, by default the next."""
        self.batch = self.batch + 1 if batch is None else batch
        self._set_rates()

    def step_epoch(self, epoch: int | None = None) -> None:
        """Set the rate for epoch number ``epoch`` (from 0), by default the next."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        self._set_rates()

    def rates(self) -> list[float]:
        """The learning rate of each parameter group."""
        factor = (1 + (self.batch / self.lr_batches) ** 2) ** -0.25
        factor *= (1 + (self.epoch / self.lr_epochs) ** 2) ** -0.25
        if self.batch < self.warmup_batches:
            factor *= 0.5 + 0.5 * self.batch / self.warmup_batches
        return [base * factor for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Base rates, epoch and batch, as icefall saves them."""
        return {"base_lrs": self.base_lrs, "epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.base_lrs = list(state["base_lrs"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self._set_rates()

    def _set_rates(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates(), strict=True):
            group["lr"] = rate
