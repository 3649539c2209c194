"""Metadata of the conformer for the clients of each format."""

from __future__ import annotations

from calve.api import StreamingGeometry
from calve_pruned_transducer.config import ConformerConfig

__all__ = ["ncnn_table", "onnx_table", "torchscript_table"]


def ncnn_table(config: ConformerConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
    """calve's own table; sherpa-ncnn has no number for this architecture."""
    return {
        "arch": "conformer",
        "num_encoder_layers": config.num_encoder_layers,
        "encoder_dim": config.encoder_dim,
        "nhead": config.nhead,
        "cnn_module_kernel": config.cnn_module_kernel,
        "chunk_size": geometry.output_frames,
        "left_context": geometry.left_context,
        "right_context": geometry.right_context,
    }


def onnx_table(config: ConformerConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
    """The table that sherpa-onnx reads from the encoder; it steps as ``geometry`` does."""
    return {
        "model_type": "conformer",
        "version": 1,
        "model_author": "k2-fsa",
        "T": geometry.segment,
        "decode_chunk_len": geometry.shift,
        "pad_length": geometry.overlap,
        "chunk_size": geometry.output_frames,
        "left_context": geometry.left_context,
        "right_context": geometry.right_context,
        "num_encoder_layers": config.num_encoder_layers,
        "encoder_dim": config.encoder_dim,
        "cnn_module_kernel": config.cnn_module_kernel,
    }


def torchscript_table(config: ConformerConfig, geometry: StreamingGeometry) -> dict[str, int | str]:
    """The class name by which k2-fsa/sherpa identifies a conformer; the user gives the geometry."""
    return {"class_name": "Conformer"}
