"""The prediction network ("decoder"), whose input is the last few symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from calve_transducer.layers.scaling import ScaledConv1d, ScaledEmbedding

__all__ = ["SingleContextDecoder", "StatelessDecoder"]


class StatelessDecoder(nn.Module):
    """Embedding, a grouped convolution over ``context_size`` symbols, then a ReLU.

    From "RNN-Transducer with Stateless Prediction Network" (Ghodsi et al., 2020), with the
    convolution that icefall adds. With one symbol of context there is no convolution.

    Args:
      vocab_size: Number of symbols, blank included.
      decoder_dim: Dimension of the embedding and of the output.
      blank_id: Id of the blank symbol.
      context_size: Number of symbols seen; 1 for a bigram.
      embedding: Creates the embedding from ``vocab_size`` and ``decoder_dim``.
      convolution: Creates the convolution from `torch.nn.Conv1d`'s arguments.
      output_linear: Applied last, if given.
      initial_symbol: Symbol before an utterance, next to one blank, in icefall's searches on whole
        utterances: "no symbol" as in training, or the blank.
    """

    def __init__(
        self,
        vocab_size: int,
        decoder_dim: int,
        blank_id: int,
        context_size: int,
        *,
        embedding: Callable[[int, int], nn.Module] = ScaledEmbedding,
        convolution: Callable[..., nn.Module] = ScaledConv1d,
        output_linear: nn.Module | None = None,
        initial_symbol: int = -1,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.blank_id = blank_id
        self.context_size = context_size
        self.initial_symbol = initial_symbol
        self.embedding = embedding(vocab_size, decoder_dim)
        if context_size > 1:
            self.conv = convolution(
                decoder_dim, decoder_dim, context_size, groups=decoder_dim, bias=False
            )
        self.output_linear = nn.Identity() if output_linear is None else output_linear

    def forward(self, y: Tensor, need_pad: bool = True) -> Tensor:
        """Outputs for every context in ``y``.

        Args:
          y: (N, U) int64 symbols; a negative id stands for "no symbol" and embeds as zeros.
          need_pad: Whether to prepend ``context_size - 1`` such symbols, which gives U outputs
            (training); otherwise there are ``U - context_size + 1`` (decoding).

        Returns:
          (N, number of outputs, D'), D' being decoder_dim unless there is an ``output_linear``.
        """
        embedded = self.embedding(y.clamp(min=0)) * (y >= 0).unsqueeze(-1)
        if need_pad:
            embedded = functional.pad(embedded, (0, 0, self.context_size - 1, 0))
        return self.combine(embedded)

    def combine(self, embedded: Tensor) -> Tensor:
        """Embedded symbols (N, U, decoder_dim) -> (N, U - context_size + 1, D')."""
        if hasattr(self, "conv"):
            embedded = self.conv(embedded.transpose(1, 2)).transpose(1, 2)
        decoder_out: Tensor = self.output_linear(embedded.relu())
        return decoder_out


class SingleContextDecoder(nn.Module):
    """A plain `StatelessDecoder` for single contexts, with one output for each.

    A depthwise convolution over one position is a weighted sum, which takes a tenth of the time.
    Exporters need the convolution.
    """

    def __init__(self, decoder: StatelessDecoder) -> None:
        super().__init__()
        self.embedding = decoder.embedding
        self.output_linear = decoder.output_linear
        self.weight: Tensor | None = None
        if decoder.context_size > 1:
            convolution: Any = decoder.conv
            self.weight = convolution.weight.detach().squeeze(1).t().contiguous()

    def forward(self, y: Tensor) -> Tensor:
        """Contexts (N, context_size) int64, negative for "no symbol" -> (N, D')."""
        embedded = self.embedding(y.clamp(min=0)) * (y >= 0).unsqueeze(-1)
        if self.weight is not None:
            embedded = embedded * self.weight
        decoder_out: Tensor = self.output_linear(embedded.sum(1).relu())
        return decoder_out
