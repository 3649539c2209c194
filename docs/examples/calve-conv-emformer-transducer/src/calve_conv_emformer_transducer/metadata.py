"""What runtimes must be told about the encoder."""

from __future__ import annotations

from calve.api import StreamingGeometry
from calve_conv_emformer_transducer.config import Config


def ncnn_table(config: Config, geometry: StreamingGeometry) -> dict[str, int | str]:
    """SherpaMetaData of a ConvEmformer, by which sherpa-ncnn makes the states and steps."""
    return {
        "arch": 1,
        "num_encoder_layers": config.num_encoder_layers,
        "memory_size": config.memory_size,
        "cnn_module_kernel": config.cnn_module_kernel,
        "left_context_length": config.left_context_length,
        "chunk_length": config.chunk_length,
        "right_context_length": config.right_context_length,
        "encoder_dim": config.encoder_dim,
    }


def onnx_table(config: Config, geometry: StreamingGeometry) -> dict[str, int | str]:
    """What the encoder's ONNX file says of itself; sherpa-onnx knows no such type."""
    return {
        "model_type": "conv-emformer",
        "T": geometry.segment,
        "decode_chunk_len": geometry.shift,
    }
