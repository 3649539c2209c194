"""Projected LSTMs as operators of ONNX.

ONNX's LSTM knows no projection. Here one is a loop over frames, whose matrices are parameters
laid out as they are multiplied: a transposition in the graph would hide them from quantization.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["UnrolledLstm", "with_unrolled_lstms"]


def _recur(
    entry: Tensor, hidden: Tensor, cell: Tensor, weight_hh: Tensor, weight_hr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Everything but the input's own product.

    Args:
      entry: (N, T, 4 H), what the input frames add to the gates, biases included.
      hidden: (N, D).
      cell: (N, H).
      weight_hh: (D, 4 H).
      weight_hr: (H, D).

    Returns:
      Output (N, T, D), the last hidden and cell state.
    """
    size = cell.size(1)
    outputs: list[Tensor] = []
    for frame in range(entry.size(1)):
        gates = entry[:, frame] + torch.matmul(hidden, weight_hh)
        enter = torch.sigmoid(gates[:, :size])
        forget = torch.sigmoid(gates[:, size : 2 * size])
        candidate = torch.tanh(gates[:, 2 * size : 3 * size])
        leave = torch.sigmoid(gates[:, 3 * size :])
        cell = forget * cell + enter * candidate
        hidden = torch.matmul(leave * torch.tanh(cell), weight_hr)
        outputs.append(hidden)
    return torch.stack(outputs, 1), hidden, cell


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about TorchScript's age
    # Traced, the loop would be as long as the example; scripted, it stays a loop.
    _scripted_recur: Any = torch.jit.script(_recur)


class UnrolledLstm(nn.Module):
    """What a one-layer, batch-first, projected `torch.nn.LSTM` computes."""

    def __init__(self, lstm: Any) -> None:
        super().__init__()
        self.weight_ih = _transposed(lstm.weight_ih_l0)
        self.weight_hh = _transposed(lstm.weight_hh_l0)
        self.weight_hr = _transposed(lstm.weight_hr_l0)
        bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(
        self, x: Tensor, states: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (N, T, C), states (1, N, D) and (1, N, H) -> y (N, T, D), next states."""
        entry = torch.matmul(x, self.weight_ih) + self.bias
        y, hidden, cell = _scripted_recur(
            entry, states[0][0], states[1][0], self.weight_hh, self.weight_hr
        )
        return y, (hidden.unsqueeze(0), cell.unsqueeze(0))


def with_unrolled_lstms(module: nn.Module) -> nn.Module:
    """A copy in which every projected LSTM is unrolled; other weights are shared."""
    if isinstance(module, nn.LSTM) and module.proj_size:
        return UnrolledLstm(module).eval()
    duplicate = copy.copy(module)
    duplicate._modules = {
        name: None if child is None else with_unrolled_lstms(child)
        for name, child in module._modules.items()
    }
    return duplicate


def _transposed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
