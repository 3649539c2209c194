"""Layers of the "reworked" models: every weight carries a learned scale.

A layer computes with ``weight * exp(weight_scale)``, so that the optimizer can change the size of a
weight matrix without changing its direction. Two classes act on gradients only:
`ActivationBalancer` keeps activations in a useful range, and `ScaledLSTM` damps the exploding
gradients of single utterances. `calve_transducer.layers.conversion` folds all of it into plain
layers.

The parametrisation is that of icefall's ``pruned_transducer_stateless2`` and
``lstm_transducer_stateless2``; parameter names are part of its checkpoint format.
"""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve_transducer.layers.projected_lstm import projected_lstm

__all__ = [
    "ActivationBalancer",
    "BasicNorm",
    "DoubleSwish",
    "ScaledConv1d",
    "ScaledConv2d",
    "ScaledEmbedding",
    "ScaledLSTM",
    "ScaledLinear",
    "double_swish",
]

_INITIAL_STD = 0.1


def _initialize_weight(weight: Tensor, initial_speed: float) -> float:
    """Fill ``weight`` uniformly and return the standard deviation it was given.

    The optimizer changes the direction of smaller values faster, hence ``initial_speed``.
    """
    std = _INITIAL_STD / initial_speed
    bound = math.sqrt(3.0) * std
    nn.init.uniform_(weight, -bound, bound)
    return std


def _add_scales(layer: Any, *, fan_in: int, initial_scale: float, initial_speed: float) -> None:
    """Initialize a layer's weight and bias and add the log-scales that multiply them.

    The initial products have the variance of a plain layer, ``initial_scale ** 2 / fan_in``.
    """
    std = _initialize_weight(layer.weight, initial_speed)
    weight_scale = math.log(initial_scale / (std * math.sqrt(fan_in)))
    layer.weight_scale = nn.Parameter(torch.tensor(weight_scale))
    if layer.bias is None:
        layer.register_parameter("bias_scale", None)
    else:
        nn.init.zeros_(layer.bias)
        layer.bias_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))


def _scaled(layer: Any) -> tuple[Tensor, Tensor | None]:
    weight = layer.weight * layer.weight_scale.exp()
    bias = None if layer.bias is None else layer.bias * layer.bias_scale.exp()
    return weight, bias


class ScaledLinear(nn.Linear):
    """A linear layer with scaled weight and bias: (..., in_features) -> (..., out_features)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        initial_scale: float = 1.0,
        initial_speed: float = 1.0,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        _add_scales(
            self, fan_in=in_features, initial_scale=initial_scale, initial_speed=initial_speed
        )

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return the effective weight and bias."""
        return _scaled(self)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.scaled_parameters())


class ScaledConv1d(nn.Conv1d):
    """A 1-D convolution with scaled weight and bias; arguments as `torch.nn.Conv1d`."""

    def __init__(self, *args: Any, initial_scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fan_in = self.weight[0].numel()
        _add_scales(self, fan_in=fan_in, initial_scale=initial_scale, initial_speed=1.0)

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return the effective weight and bias."""
        return _scaled(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, *self.scaled_parameters())
        return y


class ScaledConv2d(nn.Conv2d):
    """A 2-D convolution with scaled weight and bias; arguments as `torch.nn.Conv2d`."""

    def __init__(self, *args: Any, initial_scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fan_in = self.weight[0].numel()
        _add_scales(self, fan_in=fan_in, initial_scale=initial_scale, initial_speed=1.0)

    def scaled_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return the effective weight and bias."""
        return _scaled(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, *self.scaled_parameters())
        return y


class ScaledEmbedding(nn.Module):
    """An embedding with a scaled table: (...) int64 -> (..., embedding_dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(math.log(1.0 / _INITIAL_STD)))
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        # On the meta device there is nothing to fill, and filling would import sympy.
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=_INITIAL_STD)

    def scaled_weight(self) -> Tensor:
        """The effective table."""
        return self.weight * self.scale.exp()

    def forward(self, y: Tensor) -> Tensor:
        return functional.embedding(y, self.weight) * self.scale.exp()


class _GradientFilter(torch.autograd.Function):
    """Identity forward; backward damps utterances whose gradient norm is far above the median.

    Each utterance's gradient g is divided by ``1 + rms(g) / (threshold * median rms)``; the
    parameters' gradients are divided by the mean of those divisors.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, batch_dim: int, threshold: float, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.batch_dim = batch_dim
        ctx.threshold = threshold
        return (x.view_as(x), *(parameter.view_as(parameter) for parameter in parameters))

    @staticmethod
    def backward(ctx: Any, x_grad: Tensor, *parameter_grads: Tensor) -> tuple[Tensor | None, ...]:
        other_dims = [dim for dim in range(x_grad.ndim) if dim != ctx.batch_dim]
        rms = x_grad.square().mean(dim=other_dims, keepdim=True).sqrt()
        cutoff = rms.median() * ctx.threshold
        divisor = (cutoff + rms) / (cutoff + 1e-20)
        mean_divisor = divisor.mean() + 1e-20
        filtered = (grad / mean_divisor for grad in parameter_grads)
        return (x_grad / (divisor + 1e-20), None, None, *filtered)


class ScaledLSTM(nn.LSTM):
    """A one-layer LSTM with scaled weights and filtered gradients.

    Args:
      input_size: Size of an input frame.
      hidden_size: Size of the cell state.
      proj_size: Size of the projected hidden state; 0 for no projection.
      batch_first: Whether the input is (N, T, C) rather than (T, N, C).
      grad_norm_threshold: Multiple of the median gradient norm at which the gradient of an
        utterance is damped to about half.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        proj_size: int = 0,
        batch_first: bool = False,
        grad_norm_threshold: float = 10.0,
    ) -> None:
        super().__init__(input_size, hidden_size, proj_size=proj_size, batch_first=batch_first)
        self.grad_norm_threshold = grad_norm_threshold
        for name in self.parameter_names:
            parameter = getattr(self, name)
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                scale = 0.0
            else:
                scale = math.log(1.0 / (_initialize_weight(parameter, 1.0) * hidden_size**0.5))
            setattr(self, f"{name}_scale", nn.Parameter(torch.tensor(scale)))

    @property
    def parameter_names(self) -> list[str]:
        """Names of the weights and biases, in the order of the kernel's arguments."""
        names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
        return [*names, "weight_hr_l0"] if self.proj_size > 0 else names

    def scaled_parameters(self) -> list[Tensor]:
        """Return the effective weights and biases, in the order of `parameter_names`."""
        return [
            getattr(self, name) * getattr(self, f"{name}_scale").exp()
            for name in self.parameter_names
        ]

    def forward(  # type: ignore[override]
        self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As `torch.nn.LSTM`; the input is always a batched tensor, never a packed sequence."""
        batch_dim = 0 if self.batch_first else 1
        if hx is None:
            batch_size = x.size(batch_dim)
            hidden_dim = self.proj_size or self.hidden_size
            hx = (
                x.new_zeros(1, batch_size, hidden_dim),
                x.new_zeros(1, batch_size, self.hidden_size),
            )
        x, *parameters = _GradientFilter.apply(  # type: ignore[no-untyped-call]
            x, batch_dim, self.grad_norm_threshold, *self.scaled_parameters()
        )
        if self.proj_size and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            return self._mixed_precision(x, hx, parameters)
        output, hidden, cell = torch.lstm(
            x, hx, parameters, True, 1, 0.0, self.training, False, self.batch_first
        )
        return output, (hidden, cell)

    def _mixed_precision(
        self, x: Tensor, hx: tuple[Tensor, Tensor], parameters: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = parameters
        frames = x.transpose(0, 1) if self.batch_first else x
        output, hidden, cell = projected_lstm(
            frames, hx[0][0], hx[1][0], weight_ih, weight_hh, bias_ih + bias_hh, weight_hr
        )
        output = output.transpose(0, 1) if self.batch_first else output
        return output, (hidden.unsqueeze(0), cell.unsqueeze(0))


class BasicNorm(nn.Module):
    """Divides by the root mean square of the channels: ``x / sqrt(mean(x^2) + exp(eps))``.

    There is no learned gain, and a large ``eps`` keeps some of the input's magnitude.

    Args:
      channel_dim: The axis to normalize over.
      learn_eps: Whether ``eps`` is a parameter; otherwise it is a buffer.
    """

    eps: Tensor

    def __init__(
        self, channel_dim: int = -1, *, initial_eps: float = 0.25, learn_eps: bool = True
    ) -> None:
        super().__init__()
        self.channel_dim = channel_dim
        eps = torch.tensor(math.log(initial_eps))
        if learn_eps:
            self.eps = nn.Parameter(eps)
        else:
            self.register_buffer("eps", eps)

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.square().mean(dim=self.channel_dim, keepdim=True)
        return x * (mean_square + self.eps.exp()) ** -0.5


class _Balance(torch.autograd.Function):
    """Identity forward; backward adds the gradients of `ActivationBalancer`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, balancer: ActivationBalancer, max_factor: float) -> Tensor:
        dims = [dim for dim in range(x.ndim) if dim != balancer.channel_dim % x.ndim]
        positive = x > 0
        share = positive.to(x.dtype).mean(dim=dims, keepdim=True)
        factor = torch.zeros_like(share)
        if balancer.min_positive > 0.0:
            too_few = (balancer.min_positive - share).relu()
            factor += too_few * (max_factor / balancer.min_positive)
        if balancer.max_positive < 1.0:
            too_many = (share - balancer.max_positive).relu()
            factor -= too_many * (max_factor / (1.0 - balancer.max_positive))
        mean_abs = x.abs().mean(dim=dims, keepdim=True)
        too_small = (mean_abs < balancer.min_abs).to(x.dtype)
        too_large = (mean_abs > balancer.max_abs).to(x.dtype)
        growth = (too_small - too_large) * max_factor
        ctx.save_for_backward(positive, factor + growth, factor - growth)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        positive, factor_above, factor_below = ctx.saved_tensors
        factor = torch.where(positive, factor_above, factor_below)
        return torch.addcmul(grad, grad.abs(), factor, value=-1.0), None, None


class ActivationBalancer(nn.Module):
    """Keeps each channel's sign and size in range by changing gradients only.

    Forward is the identity. Backward adds to the gradient where a channel is positive too rarely or
    too often, or where its mean absolute value is too small or too large. This is done at random,
    for one call in four on average, with four times the strength. The random number is Python's, as
    in icefall.

    Args:
      channel_dim: The axis of channels.
      min_positive: Least share of positive values.
      max_positive: Largest share of positive values.
      max_factor: Largest change, relative to the gradient.
      min_abs: Least mean absolute value.
      max_abs: Largest mean absolute value.
      balance_prob: Probability that one call is balanced.
    """

    def __init__(
        self,
        channel_dim: int,
        *,
        min_positive: float = 0.05,
        max_positive: float = 0.95,
        max_factor: float = 0.01,
        min_abs: float = 0.2,
        max_abs: float = 100.0,
        balance_prob: float = 0.25,
    ) -> None:
        super().__init__()
        self.channel_dim = channel_dim
        self.min_positive = min_positive
        self.max_positive = max_positive
        self.max_factor = max_factor
        self.min_abs = min_abs
        self.max_abs = max_abs
        self.balance_prob = balance_prob

    def forward(self, x: Tensor) -> Tensor:
        if random.random() >= self.balance_prob:
            return x
        max_factor = self.max_factor / self.balance_prob
        balanced: Tensor = _Balance.apply(x, self, max_factor)  # type: ignore[no-untyped-call]
        return balanced


def double_swish(x: Tensor) -> Tensor:
    """``x * sigmoid(x - 1)``, close to two Swish functions one after the other."""
    return x * torch.sigmoid(x - 1.0)


class _DoubleSwish(torch.autograd.Function):
    """`double_swish` that keeps only its slope for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = (x - 1.0).sigmoid_()
        y = x * gate
        if ctx.needs_input_grad[0]:
            # The slope, gate + y - gate * y, in one pass over memory.
            ctx.save_for_backward(torch.lerp(y, y.new_ones(()), gate))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        slope: Tensor
        (slope,) = ctx.saved_tensors
        return grad * slope


class DoubleSwish(nn.Module):
    """The activation `double_swish`."""

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = _DoubleSwish.apply(x)  # type: ignore[no-untyped-call]
        return activated
