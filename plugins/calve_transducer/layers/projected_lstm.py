"""A projected LSTM for training in mixed precision on a CPU.

torch's LSTM does not support mixed precision on a CPU. Here matrix products are computed in
autocast's dtype, cells and gates in float32, and the gradients of the weights in one product over
all frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["projected_lstm"]


def projected_lstm(
    x: Tensor,
    hidden: Tensor,
    cell: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    weight_hr: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer over whole sequences (Sak et al. 2014, "Long short-term memory based RNNs").

    Args:
      x: (T, N, C).
      hidden: (N, P), the projected output before the first frame.
      cell: (N, H), the cells before the first frame.
      weight_ih: (4 H, C), gates in torch's order: input, forget, cell, output.
      weight_hh: (4 H, P).
      bias: (4 H,), the sum of torch's two.
      weight_hr: (P, H).

    Returns:
      y (T, N, P), and hidden and cell after the last frame.
    """
    return _ProjectedLstm.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, hidden, cell, weight_ih, weight_hh, bias, weight_hr
    )


class _ProjectedLstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor,
        weight_hr: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = _product_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            frames, batch_size, _ = x.shape
            x, weight_ih, weight_hh, weight_hr = (
                tensor.to(dtype) for tensor in (x, weight_ih, weight_hh, weight_hr)
            )
            recurrent, projection = weight_hh.t().contiguous(), weight_hr.t().contiguous()
            gates = (x.flatten(0, 1) @ weight_ih.t()).to(cell.dtype).add_(bias)
            gates = gates.view(frames, batch_size, 4, -1)
            cells = cell.new_empty(frames + 1, *cell.shape)
            cells[0] = cell
            squashed = torch.empty_like(cells[1:])
            outputs = torch.empty(frames + 1, *hidden.shape, dtype=dtype, device=x.device)
            outputs[0] = hidden
            gated = torch.empty(frames, *cell.shape, dtype=dtype, device=x.device)
            for t in range(frames):
                gate = gates[t]
                gate.flatten(1).add_(outputs[t] @ recurrent)
                gate[:, :2].sigmoid_()
                gate[:, 2].tanh_()
                gate[:, 3].sigmoid_()
                torch.mul(gate[:, 1], cells[t], out=cells[t + 1])
                cells[t + 1].addcmul_(gate[:, 0], gate[:, 2])
                torch.tanh(cells[t + 1], out=squashed[t])
                torch.mul(gate[:, 3], squashed[t], out=gated[t])
                torch.mm(gated[t], projection, out=outputs[t + 1])
        ctx.save_for_backward(
            x, outputs, cells, squashed, gates, gated, weight_ih, weight_hh, weight_hr
        )
        y = outputs[1:].to(cell.dtype)
        return y, y[-1].clone(), cells[-1].clone()

    @staticmethod
    def backward(
        ctx: Any, y_grad: Tensor, hidden_grad: Tensor, cell_grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        (x, outputs, cells, squashed, gates, gated, weight_ih, weight_hh, weight_hr) = (
            ctx.saved_tensors
        )
        frames, batch_size, _ = x.shape
        slopes, output_slope = _slopes(gates, cells, squashed)
        gate_grads = torch.empty_like(gates, dtype=x.dtype)
        output_grads = torch.empty_like(outputs[1:])
        for t in reversed(range(frames)):
            torch.add(y_grad[t], hidden_grad, out=output_grads[t])
            gated_grad = (output_grads[t] @ weight_hr).to(cells.dtype)
            cell_grad = cell_grad.addcmul(gated_grad, output_slope[t])
            torch.mul(cell_grad.unsqueeze(1), slopes[t, :, :3], out=gate_grads[t, :, :3])
            torch.mul(gated_grad, slopes[t, :, 3], out=gate_grads[t, :, 3])
            cell_grad = cell_grad * gates[t, :, 1]
            hidden_grad = (gate_grads[t].flatten(1) @ weight_hh).to(cells.dtype)
        gate_grads = gate_grads.view(frames * batch_size, -1)
        weight_grads = (
            (gate_grads.t() @ x.flatten(0, 1)).to(cells.dtype),
            (gate_grads.t() @ outputs[:-1].flatten(0, 1)).to(cells.dtype),
            gate_grads.sum(0, dtype=cells.dtype),
            (output_grads.flatten(0, 1).t() @ gated.flatten(0, 1)).to(cells.dtype),
        )
        x_grad = (gate_grads @ weight_ih).view_as(x).to(y_grad.dtype)
        return (x_grad, hidden_grad, cell_grad, *weight_grads)


def _product_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _slopes(gates: Tensor, cells: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors from gradients of cell and gated output to those of the gate inputs.

    Returns:
      (T, N, 4, H): d cell / d gate for the first three gates, d gated / d gate for the last; and
      (T, N, H): d gated / d cell.
    """
    entry, forget, candidate, output = gates.unbind(2)
    slopes = torch.empty_like(gates)
    torch.mul(entry * (1 - entry), candidate, out=slopes[:, :, 0])
    torch.mul(forget * (1 - forget), cells[:-1], out=slopes[:, :, 1])
    torch.mul(entry, 1 - candidate.square(), out=slopes[:, :, 2])
    torch.mul(output * (1 - output), squashed, out=slopes[:, :, 3])
    return slopes, output * (1 - squashed.square())
