"""The transducer: an encoder, a stateless decoder, a joiner, and the loss that trains them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from calve.protocols import LossBackend
from calve_transducer.layers.scaling import ScaledLinear
from calve_transducer.model.config import RUNTIME, TransducerConfig
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.joiner import Joiner

__all__ = ["Transducer", "TransducerParts", "reworked_parts"]


class TransducerParts(NamedTuple):
    """The networks besides the encoder; the last two are for the simple loss."""

    decoder: StatelessDecoder
    joiner: Any
    simple_am_proj: nn.Module
    simple_lm_proj: nn.Module


def reworked_parts(encoder_dim: int, config: TransducerConfig) -> TransducerParts:
    """Scaled layers; the joiner projects the encoder's and the decoder's output."""
    return TransducerParts(
        StatelessDecoder(
            config.vocab_size, config.decoder_dim, config.blank_id, config.context_size
        ),
        Joiner(encoder_dim, config.decoder_dim, config.joiner_dim, config.vocab_size),
        ScaledLinear(encoder_dim, config.vocab_size, initial_speed=0.5),
        ScaledLinear(config.decoder_dim, config.vocab_size),
    )


class Transducer(nn.Module):
    """A transducer with icefall's layout.

    Args:
      encoder: A `calve.protocols.StreamingEncoder` module. If its ``forward`` has the argument
        ``warmup``, it gets the progress of the warm-up.
      config: Sizes of the decoder and the joiner.
      parts: Creates the other networks from the encoder's output dimension and ``config``.
    """

    runtime = RUNTIME

    def __init__(
        self,
        encoder: Any,
        config: TransducerConfig,
        parts: Callable[[int, TransducerConfig], TransducerParts] = reworked_parts,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder, self.joiner, self.simple_am_proj, self.simple_lm_proj = parts(
            encoder.output_dim, config
        )
        self._encoder_warms_up = "warmup" in inspect.signature(encoder.forward).parameters

    def forward(
        self,
        x: Tensor,
        x_lens: Tensor,
        y: Sequence[Sequence[int]],
        *,
        prune_range: int = 5,
        am_scale: float = 0.0,
        lm_scale: float = 0.0,
        delay_penalty: float = 0.0,
        first_symbol: int = -1,
        warmup: float = 1.0,
        reduction: str = "sum",
        losses: LossBackend | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The two losses of pruned transducer training (Kuang et al., 2022).

        Args:
          x: (N, T, C) float32 features.
          x_lens: (N,) frames of each utterance.
          y: Symbol ids of each utterance, without blank.
          prune_range: Symbols per frame in the pruned loss.
          am_scale: Weight of an encoder-only term in the simple loss.
          lm_scale: Weight of a decoder-only term in the simple loss.
          delay_penalty: Penalty per frame of delay, in nats; 0 for none.
          first_symbol: Input of the decoder before the blank at the start of every utterance: -1
            for no symbol (icefall), or a second blank, as in streaming recognizers.
          warmup: Progress of the warm-up of training, 1 at its end.
          reduction: "none", "sum" or "mean".
          losses: The loss backend; calve's own by default.

        Returns:
          The simple and the pruned loss, (N,) or scalars.
        """
        losses = losses or _own_losses()
        encoder_options = {"warmup": warmup} if self._encoder_warms_up else {}
        encoder_out, encoder_out_lens = self.encoder(x, x_lens, **encoder_options)
        symbols, symbol_lens = self._padded_symbols(y, x.device)
        decoder_out = self._decode_all(symbols, first_symbol)

        boundary = torch.zeros(len(y), 4, dtype=torch.int64, device=x.device)
        boundary[:, 2] = symbol_lens
        boundary[:, 3] = encoder_out_lens
        simple_loss, (px_grad, py_grad) = losses.rnnt_loss_smoothed(
            lm=self.simple_lm_proj(decoder_out).float(),
            am=self.simple_am_proj(encoder_out).float(),
            symbols=symbols,
            termination_symbol=self.blank_id,
            lm_only_scale=lm_scale,
            am_only_scale=am_scale,
            boundary=boundary,
            delay_penalty=delay_penalty,
            reduction=reduction,
            return_grad=True,
        )
        ranges = losses.get_rnnt_prune_ranges(px_grad, py_grad, boundary, prune_range)
        am_pruned, lm_pruned = losses.do_rnnt_pruning(
            am=self.joiner.encoder_proj(encoder_out),
            lm=self.joiner.decoder_proj(decoder_out),
            ranges=ranges,
        )
        pruned_loss = losses.rnnt_loss_pruned(
            logits=self.joiner(am_pruned, lm_pruned, project_input=False).float(),
            symbols=symbols,
            ranges=ranges,
            termination_symbol=self.blank_id,
            boundary=boundary,
            delay_penalty=delay_penalty,
            reduction=reduction,
        )
        return simple_loss, pruned_loss

    @property
    def blank_id(self) -> int:
        """Id of the blank symbol."""
        return self.decoder.blank_id

    def _decode_all(self, symbols: Tensor, first_symbol: int) -> Tensor:
        """Decoder outputs (N, S + 1, D) before, between and after the symbols (N, S)."""
        pad = torch.nn.functional.pad
        started = pad(symbols, (1, 0), value=self.blank_id)
        contexts = pad(started, (self.decoder.context_size - 1, 0), value=first_symbol)
        decoder_out: Tensor = self.decoder(contexts, need_pad=False)
        return decoder_out

    def _padded_symbols(
        self, y: Sequence[Sequence[int]], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Symbols (N, S), 0 after an utterance's end, and their numbers (N,)."""
        lens = torch.tensor([len(symbols) for symbols in y])
        # At least one column, even if all are empty: k2 needs it.
        padded = torch.zeros(len(y), max(int(lens.max()), 1), dtype=torch.int64)
        for row, symbols in zip(padded, y, strict=True):
            row[: len(symbols)] = torch.tensor(symbols, dtype=torch.int64)
        return padded.to(device), lens.to(device)


def _own_losses() -> LossBackend:
    # The import of numba takes most of a second; only training needs it.
    from calve_transducer.losses.backend import TorchLossBackend

    # k2's functions have options that the protocol does not define.
    return cast("LossBackend", TorchLossBackend())
