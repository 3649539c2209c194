"""The joiner: combines one encoder frame with one symbol context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calve_transducer.layers.scaling import ScaledLinear

__all__ = ["Joiner"]


class Joiner(nn.Module):
    """``output_linear(tanh(encoder_proj(encoder_out) + decoder_proj(decoder_out)))``.

    Args:
      encoder_dim: Dimension of the encoder output.
      decoder_dim: Dimension of the decoder output.
      joiner_dim: Dimension of the sum.
      vocab_size: Number of symbols, blank included.
    """

    def __init__(
        self, encoder_dim: int, decoder_dim: int, joiner_dim: int, vocab_size: int
    ) -> None:
        super().__init__()
        self.encoder_proj = ScaledLinear(encoder_dim, joiner_dim)
        self.decoder_proj = ScaledLinear(decoder_dim, joiner_dim)
        self.output_linear = ScaledLinear(joiner_dim, vocab_size)

    def forward(
        self, encoder_out: Tensor, decoder_out: Tensor, project_input: bool = True
    ) -> Tensor:
        """Logits (..., vocab_size).

        Args:
          encoder_out: (..., encoder_dim), or (..., joiner_dim) without ``project_input``.
          decoder_out: The same leading shape, decoder_dim or joiner_dim.
          project_input: False if the caller applied `encoder_proj` and `decoder_proj`, which is
            cheaper for one frame with many contexts.
        """
        if project_input:
            encoder_out = self.encoder_proj(encoder_out)
            decoder_out = self.decoder_proj(decoder_out)
        logits: Tensor = self.output_linear(torch.tanh(encoder_out + decoder_out))
        return logits
