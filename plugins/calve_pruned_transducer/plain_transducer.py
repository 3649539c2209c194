"""Decoder and joiner of the first generation; encoder and decoder return one value per symbol.

No projections are needed. The simple loss adds the outputs of the encoder and the decoder directly,
and the joiner starts from their sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.transducer import TransducerParts

__all__ = ["PlainJoiner", "plain_parts"]


class PlainJoiner(nn.Module):
    """``output_linear(relu(inner_linear(tanh(encoder_out + decoder_out))))``.

    Args:
      joiner_dim: Dimension between the two linear layers.
      vocab_size: Number of symbols, blank included.
    """

    def __init__(self, joiner_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.encoder_proj = nn.Identity()
        self.decoder_proj = nn.Identity()
        self.inner_linear = nn.Linear(vocab_size, joiner_dim)
        self.output_linear = nn.Linear(joiner_dim, vocab_size)

    def forward(
        self, encoder_out: Tensor, decoder_out: Tensor, project_input: bool = True
    ) -> Tensor:
        """Logits (..., vocab_size) from two inputs of that shape.

        Args:
          project_input: Ignored, because the projections of this joiner are identities.
        """
        inner = self.inner_linear(torch.tanh(encoder_out + decoder_out))
        logits: Tensor = self.output_linear(inner.relu())
        return logits


def plain_parts(encoder_dim: int, config: TransducerConfig) -> TransducerParts:
    """Plain layers; ``encoder_dim`` is the vocabulary's size."""
    decoder = StatelessDecoder(
        config.vocab_size,
        config.decoder_dim,
        config.blank_id,
        config.context_size,
        embedding=nn.Embedding,
        convolution=nn.Conv1d,
        output_linear=nn.Linear(config.decoder_dim, config.vocab_size),
        initial_symbol=config.blank_id,
    )
    joiner = PlainJoiner(config.joiner_dim, config.vocab_size)
    return TransducerParts(decoder, joiner, nn.Identity(), nn.Identity())
