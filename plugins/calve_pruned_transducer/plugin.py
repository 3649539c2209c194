"""Registers the two generations of the conformer and their four recipes."""

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

CONFIG = LazyRef("calve_pruned_transducer.config:ConformerConfig")
EXPORT_FORM = LazyRef("calve_pruned_transducer.export_form:export_form")
INFER_CONFIG = LazyRef("calve_pruned_transducer.config:infer_config")
UNTRAINED = LazyRef("calve_pruned_transducer.training_range:untrained")
FAMILY = LazyRef("calve_transducer.family:TransducerFamily")
FORMATS = ("state-dict", "jit-trace", "jit-script", "ncnn", "onnx")

TINY = {
    "num_encoder_layers": 2,
    "encoder_dim": 16,
    "nhead": 2,
    "dim_feedforward": 32,
    "cnn_module_kernel": 5,
    "causal_convolution": True,
    "decode_chunk_size": 4,
    "left_context": 8,
}


@hookimpl
def calve_register_encoders() -> Iterator[EncoderSpec]:
    yield EncoderSpec(
        name="conformer",
        config=CONFIG,
        build=LazyRef("calve_pruned_transducer.builders:reworked_conformer"),
        infer_config=INFER_CONFIG,
        formats=FORMATS,
        summary="reworked conformer with scaled layers; streams in chunks with cached attention",
        export_form=EXPORT_FORM,
        untrained=UNTRAINED,
        tiny=TINY,
        tiny_offline={"causal_convolution": False},
    )
    yield EncoderSpec(
        name="plain_conformer",
        config=CONFIG,
        build=LazyRef("calve_pruned_transducer.builders:plain_conformer"),
        infer_config=INFER_CONFIG,
        formats=FORMATS,
        summary="conformer with plain layers; streams in chunks with cached attention",
        export_form=EXPORT_FORM,
        untrained=UNTRAINED,
        tiny=TINY,
        tiny_offline={"causal_convolution": False},
    )


DIGITS = PretrainedSpec(
    name="digits-conformer",
    checkpoint=Resource("calve_pruned_transducer", "digits/pretrained.pt"),
    tokens=Resource("calve_transducer", "digits/tokens.txt"),
    recordings=Resource("calve_transducer", "digits/recordings"),
    summary="connected English digits, 1.7 million parameters",
)


def _recipe(
    number: str,
    encoder: str,
    family: LazyRef,
    summary: str,
    pretrained: tuple[PretrainedSpec, ...] = (),
) -> RecipeSpec:
    name = f"pruned_transducer_stateless{number}"
    return RecipeSpec(
        name=name,
        encoder=encoder,
        family=family,
        defaults=Resource("calve_pruned_transducer", f"recipes/{name}.toml"),
        summary=summary,
        pretrained=pretrained,
    )


@hookimpl
def calve_register_recipes() -> Iterator[RecipeSpec]:
    yield _recipe(
        "",
        "plain_conformer",
        LazyRef("calve_pruned_transducer.family:PlainTransducerFamily"),
        "conformer transducer with plain layers; encoder and decoder outputs have the size "
        "of the vocabulary",
    )
    yield _recipe("2", "conformer", FAMILY, "reworked conformer transducer")
    yield _recipe("4", "conformer", FAMILY, "the same model, with a running average in training")
    yield _recipe(
        "5",
        "conformer",
        FAMILY,
        "deeper and narrower; combines layers at random in training",
        pretrained=(DIGITS,),
    )


@hookimpl
def calve_register_metadata_writers() -> Iterator[MetadataWriterSpec]:
    for encoder in ("conformer", "plain_conformer"):
        yield MetadataWriterSpec(
            encoder=encoder,
            format="ncnn",
            table=LazyRef("calve_pruned_transducer.metadata:ncnn_table"),
            summary="architecture and sizes, for people and programs",
            clients=(),
        )
        yield MetadataWriterSpec(
            encoder=encoder,
            format="onnx",
            table=LazyRef("calve_pruned_transducer.metadata:onnx_table"),
            summary="key/value pairs for sherpa-onnx",
            state_names=("cached_attn", "cached_conv", "processed_lens"),
            arrange=LazyRef("calve_pruned_transducer.export_form:for_sherpa_onnx"),
        )
        for format_name in ("jit-trace", "jit-script"):
            yield MetadataWriterSpec(
                encoder=encoder,
                format=format_name,
                table=LazyRef("calve_pruned_transducer.metadata:torchscript_table"),
                summary="class name for k2-fsa/sherpa",
            )
