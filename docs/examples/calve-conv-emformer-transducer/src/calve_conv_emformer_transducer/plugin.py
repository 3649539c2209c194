"""Registers the encoder, its recipe, and what runtimes must be told about it."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import EncoderSpec, LazyRef, MetadataWriterSpec, RecipeSpec, Resource, hookimpl


@hookimpl
def calve_register_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name="conv_emformer",
        config=LazyRef("calve_conv_emformer_transducer.config:Config"),
        build=LazyRef("calve_conv_emformer_transducer.encoder:ConvEmformer"),
        infer_config=LazyRef("calve_conv_emformer_transducer.config:infer_config"),
        formats=("state-dict", "ncnn", "onnx"),
        summary="convolution and attention in chunks, with a memory of the chunks before",
        tiny={
            "num_encoder_layers": 2,
            "encoder_dim": 36,
            "dim_feedforward": 52,
            "cnn_module_kernel": 5,
            "nhead": 3,
            "chunk_length": 16,
            "right_context_length": 4,
            "left_context_length": 7,
            "memory_size": 2,
        },
    )


@hookimpl
def calve_register_recipes() -> Iterator[RecipeSpec]:
    yield RecipeSpec(
        name="conv_emformer_transducer",
        encoder="conv_emformer",
        family=LazyRef("calve_transducer.family:TransducerFamily"),
        defaults=Resource("calve_conv_emformer_transducer", "recipe.toml"),
        summary="transducer with a streaming ConvEmformer encoder",
    )


@hookimpl
def calve_register_metadata_writers() -> Iterator[MetadataWriterSpec]:
    yield MetadataWriterSpec(
        encoder="conv_emformer",
        format="ncnn",
        table=LazyRef("calve_conv_emformer_transducer.metadata:ncnn_table"),
        summary="SherpaMetaData of a ConvEmformer",
    )
    yield MetadataWriterSpec(
        encoder="conv_emformer",
        format="onnx",
        table=LazyRef("calve_conv_emformer_transducer.metadata:onnx_table"),
        summary="the type and step of the model",
        clients=(),
    )
