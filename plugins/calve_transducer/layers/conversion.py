"""Conversion of the scaled layers of training into plain torch layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from calve_transducer.layers.dropout import Dropout
from calve_transducer.layers.scaling import (
    ActivationBalancer,
    BasicNorm,
    DoubleSwish,
    ScaledConv1d,
    ScaledConv2d,
    ScaledEmbedding,
    ScaledLinear,
    ScaledLSTM,
    double_swish,
)

__all__ = [
    "Converters",
    "PlainBasicNorm",
    "PlainDoubleSwish",
    "convert_modules",
    "linear_layer",
    "pointwise_layer",
    "to_plain",
]

Converters = Mapping[type[nn.Module], Callable[[Any], nn.Module]]


class PlainBasicNorm(nn.Module):
    """`BasicNorm` with a constant ``eps`` and operators that every exporter supports."""

    def __init__(self, channel_dim: int, eps: float) -> None:
        super().__init__()
        self.channel_dim = channel_dim
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean_square = torch.mean(x * x, dim=self.channel_dim, keepdim=True)
        return x * torch.pow(mean_square + self.eps, -0.5)


class PlainDoubleSwish(nn.Module):
    """`DoubleSwish` without its own backward function, so that it can be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return double_swish(x)


def to_plain(module: nn.Module) -> nn.Module:
    """Return a copy in eval mode with plain torch layers, whose weights include the scales.

    The result computes the same and can be traced. Weights without a scale are shared with
    ``module``, the others are new.
    """
    return convert_modules(module, _CONVERTERS).eval()


def convert_modules(module: nn.Module, converters: Converters) -> nn.Module:
    """Return a copy of a module with the modules of some types replaced, including itself.

    Args:
      module: The module. The copy shares all weights with it that no converter replaces.
      converters: Function that creates the replacement of a module, by type.
    """
    convert = converters.get(type(module))
    if convert is not None:
        return convert(module)
    duplicate = copy.copy(module)
    duplicate._parameters = module._parameters.copy()
    duplicate._buffers = module._buffers.copy()
    duplicate._modules = {
        name: None if child is None else convert_modules(child, converters)
        for name, child in module._modules.items()
    }
    return duplicate


def linear_layer(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with the given weights, which are not trained.

    Args:
      weight: (outputs, inputs).
      bias: (outputs,), if any.
    """
    layer = _without_storage(
        lambda: nn.Linear(weight.size(1), weight.size(0), bias=bias is not None)
    )
    _assign(layer, weight, bias)
    return layer  # type: ignore[return-value]


def pointwise_layer(convolution: Any) -> nn.Linear:
    """Return a 1-D convolution of kernel size 1 as a linear layer on (N, T, C)."""
    return linear_layer(convolution.weight.squeeze(-1), convolution.bias)


def _without_storage(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a layer without allocating its weights, which the caller replaces."""
    with torch.device("meta"):
        return build()


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _assign(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = _frozen(weight)
    if bias is not None:
        layer.bias = _frozen(bias)
    return layer  # type: ignore[no-any-return]


@torch.no_grad()
def _plain_linear(scaled: ScaledLinear) -> nn.Module:
    return linear_layer(*scaled.scaled_parameters())


def _plain_convolution(kind: type[nn.Module]) -> Callable[[Any], nn.Module]:
    @torch.no_grad()
    def convert(scaled: Any) -> nn.Module:
        weight, bias = scaled.scaled_parameters()
        plain = _without_storage(
            lambda: kind(
                scaled.in_channels,
                scaled.out_channels,
                scaled.kernel_size,
                stride=scaled.stride,
                padding=scaled.padding,
                dilation=scaled.dilation,
                groups=scaled.groups,
                bias=bias is not None,
                padding_mode=scaled.padding_mode,
            )
        )
        return _assign(plain, weight, bias)

    return convert


@torch.no_grad()
def _plain_embedding(scaled: ScaledEmbedding) -> nn.Module:
    weight = scaled.scaled_weight()
    plain: nn.Module = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call]
    return plain


@torch.no_grad()
def _plain_lstm(scaled: ScaledLSTM) -> nn.Module:
    plain = _without_storage(
        lambda: nn.LSTM(
            scaled.input_size,
            scaled.hidden_size,
            proj_size=scaled.proj_size,
            batch_first=scaled.batch_first,
        )
    )
    for name, weight in zip(scaled.parameter_names, scaled.scaled_parameters(), strict=True):
        setattr(plain, name, _frozen(weight))
    return plain


def _plain_norm(norm: BasicNorm) -> nn.Module:
    return PlainBasicNorm(norm.channel_dim, norm.eps.exp().item())


def _plain_double_swish(_: DoubleSwish) -> nn.Module:
    return PlainDoubleSwish()


def _plain_dropout(dropout: Dropout) -> nn.Module:
    return nn.Dropout(dropout.p)


def _identity(_: ActivationBalancer) -> nn.Module:
    return nn.Identity()


_CONVERTERS: Converters = {
    ActivationBalancer: _identity,
    BasicNorm: _plain_norm,
    DoubleSwish: _plain_double_swish,
    Dropout: _plain_dropout,
    ScaledConv1d: _plain_convolution(nn.Conv1d),
    ScaledConv2d: _plain_convolution(nn.Conv2d),
    ScaledEmbedding: _plain_embedding,
    ScaledLSTM: _plain_lstm,
    ScaledLinear: _plain_linear,
}
