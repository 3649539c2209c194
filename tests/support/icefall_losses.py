"""Losses and gradients beside those that icefall computed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

__all__ = ["compare_losses"]

_OPTIONS = ("prune_range", "am_scale", "lm_scale", "delay_penalty", "warmup")


def compare_losses(model: nn.Module, training: Mapping[str, Any], case: Mapping[str, Any]) -> None:
    """Losses of ``model``, and their gradients, are those of one of the golden ``training`` cases.

    Args:
      model: Made as the case says, and in the mode that it says; its gradients are filled.
      training: What was measured: the utterances, and the cases.
      case: One of them.
    """
    with pytest.MonkeyPatch.context() as patch:
        # What activation balancers draw.
        patch.setattr(random, "random", lambda: 0.0 if case["balancer"] == "always" else 1.0)
        torch.manual_seed(case.get("torch_manual_seed", 0))
        simple_loss, pruned_loss = model(
            training["x"],
            training["x_lens"],
            case["y"],
            reduction="none",
            **{option: case[option] for option in _OPTIONS},
        )
        (0.5 * simple_loss.sum() + pruned_loss.sum()).backward()

    assert_close(simple_loss, case["simple_loss"], rtol=1e-5, atol=0.0)
    assert_close(pruned_loss, case["pruned_loss"], rtol=1e-5, atol=0.0)
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    for key, norm in case.get("grad_norm", {}).items():
        measured = gradients[key].double().norm().item()
        assert measured == pytest.approx(norm, rel=1e-4, abs=1e-6), key
    for key, gradient in case.get("grad", {}).items():
        assert_close(gradients[key], gradient, rtol=1e-4, atol=1e-4)
