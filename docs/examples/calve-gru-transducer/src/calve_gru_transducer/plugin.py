"""The encoder's options, and its registration; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from calve.api import (
    EncoderSpec,
    LazyRef,
    MetadataWriterSpec,
    RecipeSpec,
    Resource,
    StreamingGeometry,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Sizes of the encoder."""

    num_encoder_layers: int = field(default=2, metadata={"help": "Number of GRU layers."})
    encoder_dim: int = field(default=192, metadata={"help": "Dimension of the encoder output."})


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The options that the shapes of the encoder's entries in a checkpoint determine."""
    layers = {key.split(".")[1] for key in shapes if key.startswith("layers.")}
    return {"num_encoder_layers": len(layers), "encoder_dim": shapes["front.weight"][0]}


def onnx_table(config: Config, geometry: StreamingGeometry) -> dict[str, int | str]:
    """What the encoder's ONNX file says of itself; sherpa-onnx knows no such type."""
    return {"model_type": "gru", "T": geometry.segment, "decode_chunk_len": geometry.shift}


@hookimpl
def calve_register_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name="gru",
        config=LazyRef("calve_gru_transducer.plugin:Config"),
        build=LazyRef("calve_gru_transducer.encoder:GruEncoder"),
        infer_config=LazyRef("calve_gru_transducer.plugin:infer_config"),
        formats=("state-dict", "onnx"),
        summary="one convolution, then GRU layers",
        tiny={"num_encoder_layers": 2, "encoder_dim": 24},
    )


@hookimpl
def calve_register_recipes() -> Iterator[RecipeSpec]:
    yield RecipeSpec(
        name="gru_transducer",
        encoder="gru",
        family=LazyRef("calve_transducer.family:TransducerFamily"),
        defaults=Resource("calve_gru_transducer", "recipe.toml"),
        summary="transducer with a GRU encoder",
    )


@hookimpl
def calve_register_metadata_writers() -> Iterator[MetadataWriterSpec]:
    yield MetadataWriterSpec(
        encoder="gru",
        format="onnx",
        table=LazyRef("calve_gru_transducer.plugin:onnx_table"),
        summary="the type and step of the model",
        clients=(),
    )
