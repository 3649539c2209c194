"""The conformer layer and the stack of layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calve_pruned_transducer.attention import RelativePositionAttention
from calve_pruned_transducer.blocks import Blocks
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.convolution import ConvolutionModule
from calve_transducer.layers.combine import RandomCombine, auxiliary_layers
from calve_transducer.layers.dropout import Dropout

__all__ = ["ConformerLayer", "ConformerLayers"]


class ConformerLayer(nn.Module):
    """Feed-forward, attention, convolution and feed-forward, all residual, then a norm.

    From "Conformer: Convolution-augmented Transformer for Speech Recognition" (Gulati et al.,
    2020).
    """

    def __init__(self, config: ConformerConfig, blocks: Blocks) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.feed_forward_share = blocks.feed_forward_share
        self.self_attn = RelativePositionAttention(dim, config.nhead, blocks)
        self.feed_forward = blocks.feed_forward(config)
        self.feed_forward_macaron = blocks.feed_forward(config)
        self.conv_module = ConvolutionModule(
            dim, config.cnn_module_kernel, causal=config.causal_convolution, blocks=blocks
        )
        self.norm_ff_macaron = blocks.norm(dim)
        self.norm_ff = blocks.norm(dim)
        self.norm_mha = blocks.norm(dim)
        self.norm_conv = blocks.norm(dim)
        self.norm_final = blocks.final_norm(dim)
        self.balancer = blocks.balancer(
            channel_dim=-1, min_positive=0.45, max_positive=0.55, max_abs=6.0
        )
        self.dropout = Dropout(config.dropout)
        self.bypass = blocks.bypass(config)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        hidden: Tensor,
        padding: Tensor | None = None,
        attention_cache: Tensor | None = None,
        convolution_cache: Tensor | None = None,
        warmup: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, T, D) -> y (N, T, D); see the modules for the other shapes.

        Returns:
          y, and the inputs of the attention and the convolution, including their caches.
        """
        share = self.feed_forward_share
        y = x.add(self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x))), alpha=share)
        attended, attention_inputs = self.self_attn(
            self.norm_mha(y), positions, hidden, attention_cache
        )
        y = y + self.dropout(attended)
        convolved, convolution_inputs = self.conv_module(
            self.norm_conv(y), padding, convolution_cache
        )
        y = y + self.dropout(convolved)
        y = y.add(self.dropout(self.feed_forward(self.norm_ff(y))), alpha=share)
        y = self.bypass(self.norm_final(self.balancer(y)), x, warmup)
        return y, attention_inputs, convolution_inputs


class ConformerLayers(nn.Module):
    """The stack of layers. In training, the output combines auxiliary layers at random."""

    def __init__(self, config: ConformerConfig, blocks: Blocks) -> None:
        super().__init__()
        count = config.num_encoder_layers
        self.layers = nn.ModuleList(ConformerLayer(config, blocks) for _ in range(count))
        chosen = auxiliary_layers(count, config.aux_layer_period)
        self.is_auxiliary = [index in chosen for index in range(count)]
        self.combiner = RandomCombine(num_inputs=len(chosen) + 1)

    def forward(
        self, x: Tensor, positions: Tensor, hidden: Tensor, padding: Tensor, warmup: float
    ) -> Tensor:
        """Whole utterances: x (N, T, D) -> y (N, T, D)."""
        auxiliary = []
        for index, layer in enumerate(self.layers):
            x, _, _ = layer(x, positions, hidden, padding, warmup=warmup)
            if self.is_auxiliary[index]:
                auxiliary.append(x)
        if self.training and auxiliary:
            auxiliary.append(x)
            x = self.combiner(auxiliary)
        return x

    def stream(
        self,
        x: Tensor,
        positions: Tensor,
        hidden: Tensor,
        attention: Tensor,
        convolution: Tensor,
        kept: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One segment: x (N, S, D) -> y (N, S, D), and the next caches.

        Args:
          attention: (L, N, left context, D), inputs of the attention.
          convolution: (L, N, kernel size - 1, D), inputs of the depthwise convolution.
          kept: Number of frames of ``x`` that are not part of the next segment.
        """
        next_attention, next_convolution = [], []
        for index, layer in enumerate(self.layers):
            x, attention_inputs, convolution_inputs = layer(
                x, positions, hidden, None, attention[index], convolution[index]
            )
            next_attention.append(attention_inputs.narrow(1, kept, attention.size(2)))
            next_convolution.append(convolution_inputs.narrow(1, kept, convolution.size(2)))
        return x, torch.stack(next_attention), torch.stack(next_convolution)
