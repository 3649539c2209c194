from calve.api import (
    DatasetSpec,
    EncoderSpec,
    LazyRef,
    MetadataWriterSpec,
    QuantizerSpec,
    RecipeSpec,
    Resource,
    StageSpec,
    hookimpl,
)


@hookimpl
def calve_register_encoders():
    yield EncoderSpec(
        name="sound",
        config=LazyRef("acme_conformance.config:SoundConfig"),
        build=LazyRef("acme_conformance.encoder:SoundEncoder"),
        infer_config=LazyRef("acme_conformance.config:infer_config"),
        formats=("state-dict", "onnx"),
        summary="keeps every promise",
        tiny={"dim": 16},
    )


@hookimpl
def calve_register_recipes():
    yield RecipeSpec(
        name="sound_transducer",
        encoder="sound",
        family=LazyRef("calve_transducer.family:TransducerFamily"),
        defaults=Resource("acme_conformance", "recipe.toml"),
        summary="keeps every promise",
    )


@hookimpl
def calve_register_metadata_writers():
    yield MetadataWriterSpec(
        encoder="sound",
        format="onnx",
        table=LazyRef("acme_conformance.config:onnx_table"),
        summary="its sizes",
        clients=(),
    )


@hookimpl
def calve_register_quantizers():
    yield QuantizerSpec(
        format="state-dict",
        scheme="rounded",
        quantize=LazyRef("acme_conformance.quantizer:quantize"),
        needs_calibration=False,
        summary="fewer different weights",
    )


@hookimpl
def calve_register_datasets():
    yield DatasetSpec(
        name="hums",
        options=LazyRef("acme_conformance.config:HumsOptions"),
        stages=tuple(
            StageSpec(name, f"make {name}", LazyRef(f"acme_conformance.corpus:{name}"))
            for name in ("audio", "features", "symbols")
        ),
        utterances=LazyRef("acme_conformance.corpus:load_utterances"),
        splits=("train", "valid"),
        loader=LazyRef("acme_conformance.corpus:load_batches"),
        loader_options=LazyRef("acme_conformance.config:HumsLoaderOptions"),
        summary="noise that is said to be speech",
        tokens="symbols/tokens.txt",
    )
