"""The runtime form of the conformer for torch: less computation per frame, less memory traffic.

It computes the same as `calve_pruned_transducer.encoder.ConformerEncoder.stream`, with the same
weights. `ConformerEncoder.stream` keeps icefall's states, the *inputs* of each layer's attention,
and therefore projects all cached frames in each step. The runtime form keeps keys and values
instead. Terms that depend only on positions are computed once for each segment length. The layouts
avoid copies of anything but new frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from calve.api import StreamingGeometry
from calve_pruned_transducer.attention import RelativePositionAttention, relative_positions
from calve_pruned_transducer.blocks import PlainSubsampling
from calve_pruned_transducer.convolution import ConvolutionModule
from calve_pruned_transducer.masks import cache_mask
from calve_transducer.layers.conversion import (
    Converters,
    PlainBasicNorm,
    PlainDoubleSwish,
    convert_modules,
    linear_layer,
    pointwise_layer,
)
from calve_transducer.layers.subsampling import SUBSAMPLING_FACTOR, ConvSubsampling

__all__ = ["RuntimeConformer"]

_STREAMS_AT_ONCE = 16
"""Number of streams whose intermediate values of the front end fit into a processor's cache."""


class RuntimeConformer(nn.Module):
    """A `calve.protocols.StreamingEncoder` for whole segments, of any length.

    States, for each layer, with H heads, D ``encoder_dim`` and N streams:

    * ``attention.LAYER`` (2 H, N, left_context, D / H): keys, and behind them values;
    * ``convolution.LAYER`` (N, D, cnn_module_kernel - 1): inputs of the depthwise convolution;

    and ``processed`` (1, N): output frames so far, float32. The initial states correspond to those
    of the plain encoder: cached frames of zeros.

    Args:
      encoder: A plain (converted) `ConformerEncoder`, which still processes whole utterances.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.geometry: StreamingGeometry = encoder.geometry
        self.feature_dim: int = encoder.feature_dim
        self.output_dim: int = encoder.output_dim
        self.encoder_embed = _runtime_module(encoder.encoder_embed)
        self.layers: Any = _runtime_module(encoder.encoder.layers)
        self.state_batch_axis = {
            **{f"attention.{index}": 1 for index in range(len(self.layers))},
            **{f"convolution.{index}": 0 for index in range(len(self.layers))},
            "processed": 1,
        }
        self._positions: tuple[tuple[int, int], list[Tensor]] | None = None

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """`ConformerEncoder.forward`."""
        outputs: tuple[Tensor, Tensor] = self.encoder(x, x_lens)
        return outputs

    def stream_at_once(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """`ConformerEncoder.stream_at_once`."""
        outputs: tuple[Tensor, Tensor] = self.encoder.stream_at_once(x, x_lens)
        return outputs

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Return the initial states of ``batch_size`` streams.

        Raises:
          ConfigError: if the convolutions are not causal: such a model cannot stream.
        """
        encoder = self.encoder
        encoder.check_causal()
        new_zeros = encoder.encoder_embed.out.weight.new_zeros
        attention = [
            layer.self_attn.of_zeros(batch_size, self.geometry.left_context)
            for layer in self.layers
        ]
        convolution = [
            new_zeros(batch_size, encoder.encoder_dim, encoder.convolution_context)
            for _ in self.layers
        ]
        return _states(attention, convolution, new_zeros(1, batch_size))

    def stream(
        self, x: Tensor, x_lens: Tensor, states: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Run one step over a segment, like `ConformerEncoder.stream`.

        Args:
          x: (N, T, C) float32 features, T >= 15 + 4 * right_context.
          x_lens: T for each row, integer or float; shorter lengths hide nothing.
          states: From `init_states` or the previous step.
        """
        encoder, processed = self.encoder, states["processed"]
        embedded = self._embed(x)
        size, left_context = embedded.size(1), states["attention.0"].size(2)
        kept = size - encoder.right_context
        unfilled = cache_mask(processed[0], left_context)
        hidden = unfilled if unfilled.any() else None
        positions = self._position_keys(embedded, left_context)
        y = embedded * encoder.input_scale if encoder.input_scale != 1.0 else embedded
        attention, convolution = [], []
        for index, layer in enumerate(self.layers):
            y, attended, convolved = layer(
                y,
                positions[index],
                hidden,
                None,
                states[f"attention.{index}"],
                states[f"convolution.{index}"],
            )
            attention.append(attended.narrow(2, kept, left_context))
            convolution.append(convolved.narrow(2, kept, encoder.convolution_context))
        if encoder.trims_right_context:
            y = y[:, :kept]
        y_lens = encoder.step_lens(x_lens)
        y = encoder.encoder_output_layer(encoder.after_norm(y))
        return y, y_lens, _states(attention, convolution, processed + y_lens)

    def _embed(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, S, D)."""
        parts = [self.encoder_embed(part) for part in torch.split(x, _STREAMS_AT_ONCE)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _position_keys(self, embedded: Tensor, left_context: int) -> list[Tensor]:
        """Return each layer's position keys, cached for one segment and left context length."""
        sizes = embedded.size(1), left_context
        known = self._positions
        if known is None or known[0] != sizes:
            positions = relative_positions(*sizes, embedded)
            keys = [layer.self_attn.position_keys(positions) for layer in self.layers]
            self._positions = known = sizes, keys
        return known[1]


class RuntimeAttention(nn.Module):
    """`RelativePositionAttention` of new frames, with cached keys and values.

    Args:
      attention: The module to replace.
    """

    def __init__(self, attention: RelativePositionAttention) -> None:
        super().__init__()
        self.nhead = attention.nhead
        self.linear_pos = attention.linear_pos
        self.out_proj = attention.out_proj
        query, key, value = attention.in_proj.weight.detach().chunk(3)
        query_bias, key_bias, value_bias = attention.in_proj.bias.detach().chunk(3)
        query, query_bias = query * attention.scaling, query_bias * attention.scaling
        content_bias, position_bias = attention.position_biases()
        self.in_proj = linear_layer(
            torch.cat((query, query, key, value)),
            torch.cat(
                (query_bias + content_bias, query_bias + position_bias, key_bias, value_bias)
            ),
        )

    def of_zeros(self, streams: int, frames: int) -> Tensor:
        """Keys and values of frames of zeros, (2 H, streams, frames, D / H)."""
        bias = self.in_proj.bias[2 * self.out_proj.in_features :]
        return bias.view(2 * self.nhead, 1, 1, -1).repeat(1, streams, frames, 1)

    def position_keys(self, positions: Tensor) -> Tensor:
        """(1, K + S - 1, D) from `relative_positions` -> (H, D / H, K + S - 1)."""
        keys: Tensor = self.linear_pos(positions[0])
        return keys.reshape(len(keys), self.nhead, -1).permute(1, 2, 0).contiguous()

    def forward(
        self, x: Tensor, positions: Tensor, hidden: Tensor | None, cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from every new frame to every visible frame.

        Args:
          x: (N, S, D).
          positions: (H, D / H, K + S - 1) from `position_keys`; K is S and the cached frames.
          hidden: (N, K - S) bool, missing cached frames; None if there are none.
          cache: (2 H, N, K - S, D / H), keys and values of the frames before ``x``.

        Returns:
          y (N, S, D), and the attended keys and values (2 H, N, K, D / H).
        """
        streams, frames, nhead = x.size(0), x.size(1), self.nhead
        heads = self.in_proj(x).view(streams, frames, 4 * nhead, -1).permute(2, 0, 1, 3)
        by_content, by_position, new = heads.split((nhead, nhead, 2 * nhead))
        seen = torch.cat((cache, new), dim=2)
        key, value = seen.view(2, nhead * streams, seen.size(2), -1)
        by_distance = torch.bmm(by_position.flatten(1, 2), positions)
        scores = torch.baddbmm(
            _by_key(by_distance, frames), by_content.flatten(0, 1), key.transpose(1, 2)
        )
        if hidden is not None:
            cached_scores = scores.view(nhead, streams, frames, -1)[..., : cache.size(2)]
            cached_scores.masked_fill_(hidden.unsqueeze(1), -6e4)
        attended = torch.bmm(scores.softmax(dim=-1), value).view(nhead, streams, frames, -1)
        return self.out_proj(attended.permute(1, 2, 0, 3).flatten(2)), seen


def _by_key(by_distance: Tensor, frames: int) -> Tensor:
    """(H, N * S, K + S - 1), by distance from the furthest left key on -> (H * N, S, K), by key.

    Row i starts S - 1 - i columns to the right; a view that starts in column S - 1, with rows that
    are one element shorter, is therefore sufficient.
    """
    nhead, rows, distances = by_distance.shape
    return by_distance.as_strided(
        (nhead * rows // frames, frames, distances - frames + 1),
        (frames * distances, distances - 1, 1),
        frames - 1,
    )


class RuntimeConvolution(nn.Module):
    """A causal `ConvolutionModule` on cached frames, which are stored channel by channel.

    Args:
      module: What it computes.
    """

    def __init__(self, module: ConvolutionModule) -> None:
        super().__init__()
        self.pointwise_conv1 = pointwise_layer(module.pointwise_conv1)
        self.depthwise_conv, *after = _runtime_sequence(
            nn.Sequential(module.depthwise_conv, module.norm, module.activation)
        )
        self.after_depthwise = nn.Sequential(*after)
        self.pointwise_conv2 = pointwise_layer(module.pointwise_conv2)

    def forward(self, x: Tensor, padding: None, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Mix neighboring frames.

        Args:
          x: (N, S, D).
          padding: Must be None.
          cache: (N, D, kernel_size - 1), gated frames before ``x``.

        Returns:
          y (N, S, D), and the mixed gated frames (N, D, kernel_size - 1 + S).
        """
        gated = functional.glu(self.pointwise_conv1(x), dim=-1)
        seen = torch.cat((cache, gated.transpose(1, 2)), dim=2)
        # Contiguous, so that the last layer processes all streams in one matrix product.
        y = self.after_depthwise(self.depthwise_conv(seen).transpose(1, 2).contiguous())
        return self.pointwise_conv2(y), seen


class RuntimeSubsampling(nn.Module):
    """A convolutional front end in the middle of an utterance.

    The first and the last frame of the front end are not computed, so that no padding in time is
    needed. The channels of a position in time and frequency are adjacent in memory.

    Args:
      front_end: What it computes, a `ConvSubsampling` or a `PlainSubsampling`.
    """

    def __init__(self, front_end: Any) -> None:
        super().__init__()
        self.conv: Any = _runtime_module(front_end.conv)
        time_padding, frequency_padding = self.conv[0].padding
        self.conv[0].padding = (0, frequency_padding)
        self.cut = SUBSAMPLING_FACTOR - time_padding
        weight = front_end.out.weight.detach().unflatten(1, (self.conv[-2].out_channels, -1))
        self.out = linear_layer(weight.transpose(1, 2).flatten(1), front_end.out.bias)
        self.out_norm = _runtime_module(getattr(front_end, "out_norm", nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) -> (N, (T - 3) // 4 - 2, D)."""
        y = self.conv(x[:, self.cut : -self.cut].unsqueeze(1))
        y = self.out(y.permute(0, 2, 3, 1).flatten(2))
        return self.out_norm(y)  # type: ignore[no-any-return]


class RuntimeDoubleSwish(nn.Module):
    """`PlainDoubleSwish` of its input plus one, with one new tensor instead of three."""

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        return gate.addcmul_(gate, x)


class RuntimeBasicNorm(nn.Module):
    """`PlainBasicNorm` over the last axis, without a tensor of squares."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * norm.square_().div_(x.size(-1)).add_(self.eps).rsqrt_()


def _states(
    attention: list[Tensor], convolution: list[Tensor], processed: Tensor
) -> dict[str, Tensor]:
    return {
        **{f"attention.{index}": state for index, state in enumerate(attention)},
        **{f"convolution.{index}": state for index, state in enumerate(convolution)},
        "processed": processed,
    }


def _runtime_module(module: nn.Module) -> Any:
    return convert_modules(module, _RUNTIME_MODULES)


def _runtime_sequence(sequence: nn.Sequential) -> nn.Sequential:
    """Drop identities; move the subtraction of each double swish into the bias before it."""
    modules = [one for one in sequence if not isinstance(one, (nn.Identity, nn.Dropout))]
    for index, module in enumerate(modules):
        if isinstance(module, PlainDoubleSwish):
            modules[index - 1] = _one_less(modules[index - 1])
            modules[index] = RuntimeDoubleSwish()
    return nn.Sequential(*map(_runtime_module, modules))


def _one_less(layer: Any) -> nn.Module:
    """Return a layer whose output is one less."""
    duplicate: Any = convert_modules(layer, {})
    duplicate.bias = nn.Parameter(layer.bias.detach() - 1.0, requires_grad=False)
    return duplicate  # type: ignore[no-any-return]


def _channels_last(convolution: nn.Conv2d) -> nn.Module:
    duplicate = convert_modules(convolution, {})
    # Not `contiguous`, which does nothing for one input channel.
    weight = convolution.weight.detach().clone(memory_format=torch.channels_last)
    duplicate.weight = nn.Parameter(weight, requires_grad=False)
    return duplicate


_RUNTIME_MODULES: Converters = {
    ConvSubsampling: RuntimeSubsampling,
    ConvolutionModule: RuntimeConvolution,
    PlainBasicNorm: lambda norm: RuntimeBasicNorm(norm.eps),
    PlainSubsampling: RuntimeSubsampling,
    RelativePositionAttention: RuntimeAttention,
    nn.Conv2d: _channels_last,
    nn.Sequential: _runtime_sequence,
    nn.SiLU: lambda _: nn.SiLU(inplace=True),
}
