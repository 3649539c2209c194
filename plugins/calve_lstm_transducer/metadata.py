"""Metadata of the LSTM encoder for the clients of each format."""

from __future__ import annotations

from calve.api import StreamingGeometry
from calve_lstm_transducer.config import LstmEncoderConfig

__all__ = ["ncnn_table", "onnx_table", "torchscript_table"]

SHERPA_NCNN_ARCH = 3
"""sherpa-ncnn's number for the LSTM transducer."""


def ncnn_table(config: LstmEncoderConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
    """The table that sherpa-ncnn reads from SherpaMetaData; the geometry is fixed in its code."""
    return {
        "arch": SHERPA_NCNN_ARCH,
        "num_encoder_layers": config.num_encoder_layers,
        "encoder_dim": config.encoder_dim,
        "rnn_hidden_size": config.rnn_hidden_size,
    }


def onnx_table(config: LstmEncoderConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
    """The table that sherpa-onnx reads from the encoder; it steps as ``geometry`` does."""
    return {
        "model_type": "lstm",
        "version": 1,
        "model_author": "k2-fsa",
        "T": geometry.segment,
        "decode_chunk_len": geometry.shift,
        "num_encoder_layers": config.num_encoder_layers,
        "d_model": config.encoder_dim,
        "rnn_hidden_size": config.rnn_hidden_size,
    }


def torchscript_table(
    config: LstmEncoderConfig, geometry: StreamingGeometry
) -> dict[str, int | str]:
    """The class name by which k2-fsa/sherpa identifies an LSTM encoder; it queries the sizes."""
    return {"class_name": "RNN"}
