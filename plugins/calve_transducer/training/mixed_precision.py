"""Mixed precision: autocast, and the gradient scale for float16."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from calve.api import CalveError
from calve_transducer.training.config import TrainingConfig

__all__ = ["MixedPrecision", "autocast"]

LOGGER = logging.getLogger("calve.training")

_STEPS_BETWEEN_LOOKS = 100
_STEPS_BETWEEN_GENEROUS_LOOKS = 400
_LOW_SCALE = 1.0
_GENEROUS_SCALE = 8.0
_WORRYING_SCALE = 0.01
_HOPELESS_SCALE = 1.0e-05


def autocast(config: TrainingConfig, device: torch.device) -> torch.autocast:
    """Return a context in which matrix products have the precision that ``config`` selects."""
    dtype = torch.float16 if config.use_fp16 else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=config.use_fp16 or config.use_bf16)


class MixedPrecision:
    """Computation and use of gradients, which float16 scales.

    Args:
      config: ``use_fp16``.
      device: Where the model trains.
    """

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.use_fp16)
        """Saved in checkpoints; icefall's initial scale and growth are torch's."""

    @property
    def scales(self) -> bool:
        """Whether a non-finite gradient only means that the scale was too large."""
        return bool(self.scaler.is_enabled())

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Compute gradients, at their true scale."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take a step of the optimizer; if the scale was too large, lower it instead."""
        self.scaler.step(optimizer)
        self.scaler.update()

    def watch(self, step: int) -> float | None:
        """Every hundred steps, raise a scale that has fallen too low to recover by itself.

        Returns:
          The scale; None in other precisions.

        Raises:
          CalveError: if it has fallen so low that training cannot continue.
        """
        if not self.scales:
            return None
        scale = float(self.scaler.get_scale())
        if step % _STEPS_BETWEEN_LOOKS:
            return scale
        generous = step % _STEPS_BETWEEN_GENEROUS_LOOKS == 0
        if scale < (_GENEROUS_SCALE if generous else _LOW_SCALE):
            self.scaler.update(scale * 2.0)
        if scale < _HOPELESS_SCALE:
            raise CalveError(
                f"the gradient scale of float16 has fallen to {scale:g}: gradients overflow "
                "whatever it is",
                fix="continue from an earlier checkpoint with --use-bf16 1, or start anew with a "
                "lower --initial-lr",
            )
        if scale < _WORRYING_SCALE:
            LOGGER.warning("the gradient scale of float16 is low: %g", scale)
        return scale
