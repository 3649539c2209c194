"""Registers the LSTM encoder, its recipe and its metadata."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import (
    EncoderSpec,
    LazyRef,
    MetadataWriterSpec,
    PretrainedSpec,
    RecipeSpec,
    Resource,
    hookimpl,
)

ENCODER = "lstm"


@hookimpl
def calve_register_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name=ENCODER,
        config=LazyRef("calve_lstm_transducer.config:LstmEncoderConfig"),
        build=LazyRef("calve_lstm_transducer.encoder:LstmEncoder"),
        infer_config=LazyRef("calve_lstm_transducer.config:infer_config"),
        formats=("state-dict", "jit-trace", "jit-script", "ncnn", "onnx"),
        summary="convolutional front end, projected LSTM layers; streams frame by frame",
        tiny={
            "num_encoder_layers": 2,
            "encoder_dim": 16,
            "rnn_hidden_size": 24,
            "dim_feedforward": 32,
            "conv_layer1_channels": 4,
            "conv_layer2_channels": 8,
            "conv_layer3_channels": 8,
        },
    )


@hookimpl
def calve_register_recipes() -> Iterator[RecipeSpec]:
    yield RecipeSpec(
        name="lstm_transducer_stateless2",
        encoder=ENCODER,
        family=LazyRef("calve_transducer.family:TransducerFamily"),
        defaults=Resource("calve_lstm_transducer", "recipes/lstm_transducer_stateless2.toml"),
        summary="streaming LSTM transducer with a stateless decoder",
        pretrained=(
            PretrainedSpec(
                name="digits-lstm",
                checkpoint=Resource("calve_lstm_transducer", "digits/pretrained.pt"),
                tokens=Resource("calve_transducer", "digits/tokens.txt"),
                recordings=Resource("calve_transducer", "digits/recordings"),
                summary="connected English digits, 1.9 million parameters",
                default=True,
            ),
        ),
        training_only=(
            "decoder_giga",
            "joiner_giga",
            "simple_am_proj_giga",
            "simple_lm_proj_giga",
            "ctc_output",
        ),
    )


@hookimpl
def calve_register_metadata_writers() -> Iterator[MetadataWriterSpec]:
    yield MetadataWriterSpec(
        encoder=ENCODER,
        format="ncnn",
        table=LazyRef("calve_lstm_transducer.metadata:ncnn_table"),
        summary="SherpaMetaData for sherpa-ncnn",
    )
    yield MetadataWriterSpec(
        encoder=ENCODER,
        format="onnx",
        table=LazyRef("calve_lstm_transducer.metadata:onnx_table"),
        summary="key/value pairs for sherpa-onnx",
        state_names=("state0", "state1"),
    )
    for format_name in ("jit-trace", "jit-script"):
        yield MetadataWriterSpec(
            encoder=ENCODER,
            format=format_name,
            table=LazyRef("calve_lstm_transducer.metadata:torchscript_table"),
            summary="class name for k2-fsa/sherpa",
        )
