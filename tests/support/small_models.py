"""Small models of random weights, the same each time, and noise in which they hear words."""

from __future__ import annotations

import numpy as np
import torch

from calve.data.audio import Audio
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.models.loading import ModelBuilder
from calve_lstm_transducer.config import LstmEncoderConfig
from calve_lstm_transducer.encoder import LstmEncoder
from calve_transducer.model.config import TransducerConfig
from calve_transducer.model.transducer import Transducer

__all__ = ["SAMPLE_RATE", "SYMBOLS", "noise", "small_conformer", "small_lstm"]

SYMBOLS = SymbolTable(("<blk>", "▁<sos/eos>", "<unk>", *(f"▁w{i}" for i in range(17))))
"""Every symbol that is written begins a word."""

SAMPLE_RATE = 16000


def small_lstm() -> Transducer:
    """Two layers."""
    torch.manual_seed(7)
    encoder = LstmEncoder(LstmEncoderConfig(2, encoder_dim=32, rnn_hidden_size=48))
    config = TransducerConfig(len(SYMBOLS), decoder_dim=32, joiner_dim=32)
    return Transducer(encoder, config).eval()


def small_conformer(recipe: str, right_context: int = 0) -> Transducer:
    """Two layers that see chunks of 4 frames, 8 to their left and ``right_context``."""
    torch.manual_seed(7)
    builder = ModelBuilder(recipe)
    encoder = {"num_encoder_layers": 2, "encoder_dim": 32, "nhead": 2, "dim_feedforward": 32}
    streaming = {"decode_chunk_size": 4, "left_context": 8, "right_context": right_context}
    model = {"vocab_size": len(SYMBOLS), "decoder_dim": 32, "joiner_dim": 32}
    config = builder.resolve(
        {"encoder": encoder | streaming | {"causal_convolution": True}, "model": model}
    )
    built: Transducer = builder.build(config).eval()
    with torch.no_grad():
        # Sharpened until it speaks, and differently in different frames.
        for parameter in built.joiner.output_linear.parameters():
            parameter.mul_(8.0)
    return built


def noise(number: int, samples: int, text: str | None = "") -> Utterance:
    """An utterance for each number."""
    pcm = np.random.default_rng(number).normal(scale=0.1, size=samples).astype(np.float32)
    audio = Audio(pcm, SAMPLE_RATE, samples / SAMPLE_RATE)
    return Utterance.of_audio(f"noise-{number:02}", audio, text)
