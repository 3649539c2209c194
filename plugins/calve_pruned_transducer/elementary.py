"""The conformer's streaming step in operators that every graph format has.

It computes the same as `calve_pruned_transducer.encoder.ConformerEncoder.stream`, with the same
weights, and avoids constructs that some formats lack: boolean masks, gather, dictionaries, and
sizes computed from tensors. The caller passes sizes as numbers. A trace stores them as constants;
TorchScript may compute them in each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve_pruned_transducer.attention import RelativePositionAttention, relative_positions
from calve_pruned_transducer.convolution import ConvolutionModule
from calve_transducer.layers.conversion import linear_layer, pointwise_layer

__all__ = ["ElementaryConformer"]

HIDDEN = 1e4
"""Subtracted from the score of a hidden key: larger than any score, and within float16."""


class ElementaryAttention(nn.Module):
    """`RelativePositionAttention` over cached frames and a segment.

    Queries, keys and values have separate projections, because only frames of the segment need
    queries. The scale of the queries is folded into their projection.
    """

    def __init__(self, attention: RelativePositionAttention) -> None:
        super().__init__()
        self.nhead = attention.nhead
        weights = attention.in_proj.weight.detach().chunk(3)
        biases = attention.in_proj.bias.detach().chunk(3)
        scaling = attention.scaling
        self.query = linear_layer(weights[0] * scaling, biases[0] * scaling)
        self.key = linear_layer(weights[1], biases[1])
        self.value = linear_layer(weights[2], biases[2])
        self.linear_pos = attention.linear_pos
        self.out_proj = attention.out_proj
        content_bias, position_bias = attention.position_biases()
        self.content_bias = _frozen(content_bias.reshape(1, 1, -1))
        self.position_bias = _frozen(position_bias.reshape(1, 1, -1))

    def position_keys(self, positions: Tensor) -> Tensor:
        """positions (1, K + S - 1, D) from `relative_positions` -> (1, H, D / H, K + S - 1)."""
        return self._heads(self.linear_pos(positions), positions.size(1)).transpose(2, 3)

    def forward(
        self, x: Tensor, inputs: Tensor, positions: Tensor, mask: Tensor, frames: int, keys: int
    ) -> Tensor:
        """x (N, S, D), inputs (N, K, D): the cached frames and ``x`` -> (N, S, D).

        Args:
          positions: (1, H, D / H, K + S - 1) from `position_keys`.
          mask: (N, 1, 1, K), added to the scores.
          frames: S.
          keys: K.
        """
        query = self.query(x)
        by_content = self._heads(query + self.content_bias, frames)
        by_position = self._heads(query + self.position_bias, frames)
        key, value = self._heads(self.key(inputs), keys), self._heads(self.value(inputs), keys)
        scores = torch.matmul(by_content, key.transpose(2, 3))
        scores = scores + self._shift(torch.matmul(by_position, positions), frames, keys)
        weights = torch.softmax(scores + mask, dim=-1)
        attended = torch.matmul(weights, value).transpose(1, 2)
        y: Tensor = self.out_proj(attended.reshape(-1, frames, self.out_proj.in_features))
        return y

    def _heads(self, x: Tensor, frames: int) -> Tensor:
        """(N, T, D) -> (N, H, T, D / H)."""
        head_dim = self.out_proj.in_features // self.nhead
        return x.reshape(-1, frames, self.nhead, head_dim).transpose(1, 2)

    def _shift(self, by_distance: Tensor, frames: int, keys: int) -> Tensor:
        """(N, H, S, K + S - 1), by distance -> (N, H, S, K), by key.

        Row i starts S - 1 - i columns to the right: read as one long line, each row starts one
        element less than a row's length after the row before.
        """
        if frames == 1:
            return by_distance
        distances = keys + frames - 1
        line = by_distance.reshape(-1, self.nhead, frames * distances)
        line = line[:, :, frames - 1 : frames - 1 + frames * (distances - 1)]
        return line.reshape(-1, self.nhead, frames, distances - 1)[:, :, :, :keys]


class ElementaryConvolution(nn.Module):
    """Causal `ConvolutionModule` in two parts; pointwise convolutions are linear layers.

    Between the parts, the caller prepends the cached frames.
    """

    def __init__(self, module: ConvolutionModule) -> None:
        super().__init__()
        self.pointwise_conv1 = pointwise_layer(module.pointwise_conv1)
        self.depthwise_conv = module.depthwise_conv
        self.norm = module.norm
        self.activation = module.activation
        self.pointwise_conv2 = pointwise_layer(module.pointwise_conv2)

    def gate(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N, S, D), what the depthwise convolution sees."""
        return functional.glu(self.pointwise_conv1(x), dim=-1)

    def forward(self, gated: Tensor) -> Tensor:
        """(N, cached frames + S, D) -> (N, S, D)."""
        y = self.depthwise_conv(gated.permute(0, 2, 1)).permute(0, 2, 1)
        y = self.activation(self.norm(y))
        convolved: Tensor = self.pointwise_conv2(y)
        return convolved


class ElementaryLayer(nn.Module):
    """`ConformerLayer` for one segment and its caches."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.feed_forward_share: float = layer.feed_forward_share
        self.feed_forward = layer.feed_forward
        self.feed_forward_macaron = layer.feed_forward_macaron
        self.self_attn = ElementaryAttention(layer.self_attn)
        self.conv_module = ElementaryConvolution(layer.conv_module)
        self.norm_ff_macaron = layer.norm_ff_macaron
        self.norm_ff = layer.norm_ff
        self.norm_mha = layer.norm_mha
        self.norm_conv = layer.norm_conv
        self.norm_final = layer.norm_final

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        positions: Tensor,
        attention: Tensor,
        convolution: Tensor,
        frames: int,
        keys: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, S, D) -> y (N, S, D), and what attention and convolution saw, caches included."""
        y = x + self._share(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        normed = self.norm_mha(y)
        attention_inputs = torch.cat((attention, normed), dim=1)
        y = y + self.self_attn(normed, attention_inputs, positions, mask, frames, keys)
        convolution_inputs = torch.cat(
            (convolution, self.conv_module.gate(self.norm_conv(y))), dim=1
        )
        y = y + self.conv_module(convolution_inputs)
        y = y + self._share(self.feed_forward(self.norm_ff(y)))
        return self.norm_final(y), attention_inputs, convolution_inputs

    def _share(self, y: Tensor) -> Tensor:
        # A multiplication by one would be an operator in every graph.
        return y if self.feed_forward_share == 1.0 else y * self.feed_forward_share


class ElementaryConformer(nn.Module):
    """One streaming step of a plain `ConformerEncoder` in eval mode; its weights are shared.

    TorchScript can compile it. States are lists with one tensor for each layer.
    """

    if TYPE_CHECKING:  # TorchScript would read an annotation and fail
        layers: Any

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder_dim: int = encoder.encoder_dim
        self.convolution_context: int = encoder.convolution_context
        self.trims_right_context: bool = encoder.trims_right_context
        self.input_scale: float = encoder.input_scale
        self.encoder_embed = encoder.encoder_embed
        self.layers = nn.ModuleList(ElementaryLayer(layer) for layer in encoder.encoder.layers)
        self.after_norm = encoder.after_norm
        self.encoder_output_layer = encoder.encoder_output_layer

    def position_keys(self, frames: int, left_context: int) -> list[Tensor]:
        """What `step` takes as ``positions``: (1, H, D / H, K + S - 1) for each layer."""
        positions = relative_positions(frames, left_context, self.layers[0].self_attn.content_bias)
        return [layer.self_attn.position_keys(positions) for layer in self.layers]

    def step(
        self,
        features: Tensor,
        mask: Tensor,
        positions: list[Tensor],
        attention: list[Tensor],
        convolution: list[Tensor],
        frames: int,
        left_context: int,
        right_context: int,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """One step over a segment.

        Args:
          features: (N, T, C) float32; S = (T - 3) // 4 - 2 frames of it are encoded.
          mask: (N, 1, 1, K), K = left_context + S, added to the scores: 0, or `-HIDDEN` where a
            key is hidden; a cached frame is, as long as its slot was never filled.
          positions: From `position_keys`.
          attention: (N, left_context, D) for each layer, the inputs of its attention.
          convolution: (N, cnn_module_kernel - 1, D) for each layer, the inputs of its depthwise
            convolution.
          frames: S.
          left_context: Cached frames that attention sees.
          right_context: Frames at the end of the segment that the next segment begins with.

        Returns:
          y (N, S or S - right_context, D), and the next ``attention`` and ``convolution``.
        """
        kept = frames - right_context
        x = self.encoder_embed(features)[:, 1 : 1 + frames]
        if self.input_scale != 1.0:
            x = x * self.input_scale
        next_attention: list[Tensor] = []
        next_convolution: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            x, attended, convolved = layer(
                x,
                mask,
                positions[index],
                attention[index],
                convolution[index],
                frames,
                left_context + frames,
            )
            next_attention.append(attended[:, kept : kept + left_context])
            next_convolution.append(convolved[:, kept : kept + self.convolution_context])
        if self.trims_right_context and right_context > 0:
            x = x[:, :kept]
        y: Tensor = self.encoder_output_layer(self.after_norm(x))
        return y, next_attention, next_convolution


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
