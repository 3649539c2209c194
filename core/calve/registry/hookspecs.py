"""Hook specifications: the contract between calve and its plugins.

A plugin is a module named by an entry point in the group ``calve.plugins``. calve calls each of its
functions that is marked with `hookimpl` and named like one of these hooks. Registration hooks are
called once, without arguments, and return specs. The last two hooks are events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pluggy

from calve.registry import specs

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "calve"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def calve_register_encoders() -> Iterable[specs.EncoderSpec]:  # type: ignore[empty-body]
    """Encoder builders.

    >>> @hookimpl
    ... def calve_register_encoders():
    ...     yield EncoderSpec(
    ...         name="my_encoder",
    ...         config=LazyRef("my_package.config:MyEncoderConfig"),
    ...         build=LazyRef("my_package.encoder:MyEncoder"),
    ...         infer_config=LazyRef("my_package.config:infer_config"),
    ...         formats=("ncnn",),
    ...         summary="one line about it",
    ...         tiny={"num_layers": 2, "encoder_dim": 16},
    ...     )
    """


@hookspec
def calve_register_recipes() -> Iterable[specs.RecipeSpec]:  # type: ignore[empty-body]
    """Recipes: an encoder, the model family around it, default numbers.

    >>> @hookimpl
    ... def calve_register_recipes():
    ...     yield RecipeSpec(
    ...         name="my_recipe",
    ...         encoder="my_encoder",
    ...         family=LazyRef("calve_transducer.family:TransducerFamily"),
    ...         defaults=Resource("my_package", "my_recipe.toml"),
    ...         summary="one line about it",
    ...     )
    """


@hookspec
def calve_register_exporters() -> Iterable[specs.ExporterSpec]:  # type: ignore[empty-body]
    """Export formats: ordered named steps, lint, metadata, and the runtime that runs the result.

    >>> @hookimpl
    ... def calve_register_exporters():
    ...     yield ExporterSpec(
    ...         format="my_format",
    ...         summary="one line about it",
    ...         options=LazyRef("my_package.options:MyOptions"),
    ...         steps=(ExportStepSpec("write", "write files", LazyRef("my_package.steps:write")),),
    ...         runtime="my_runtime",
    ...         lint=LazyRef("my_package.lint:lint"),
    ...         metadata=LazyRef("my_package.metadata:store"),
    ...     )
    """


@hookspec
def calve_register_metadata_writers() -> Iterable[specs.MetadataWriterSpec]:  # type: ignore[empty-body]
    """Metadata about an encoder for the client of a format.

    >>> @hookimpl
    ... def calve_register_metadata_writers():
    ...     yield MetadataWriterSpec(
    ...         encoder="my_encoder",
    ...         format="ncnn",
    ...         table=LazyRef("my_package.metadata:ncnn_table"),
    ...         summary="SherpaMetaData of my encoder",
    ...     )
    """


@hookspec
def calve_register_quantizers() -> Iterable[specs.QuantizerSpec]:  # type: ignore[empty-body]
    """Quantizers. Each implements one scheme for the bundles of one format.

    >>> @hookimpl
    ... def calve_register_quantizers():
    ...     yield QuantizerSpec(
    ...         format="ncnn",
    ...         scheme="my_int4",
    ...         quantize=LazyRef("my_package.quantize:quantize"),
    ...         needs_calibration=False,
    ...         summary="one line about it",
    ...     )
    """


@hookspec
def calve_register_decoders() -> Iterable[specs.DecodingMethodSpec]:  # type: ignore[empty-body]
    """Decoding methods; the hook keeps the word that users say.

    >>> @hookimpl
    ... def calve_register_decoders():
    ...     yield DecodingMethodSpec(
    ...         name="my_search",
    ...         search=LazyRef("my_package.search:MySearch"),
    ...         options=LazyRef("my_package.search:MySearchOptions"),
    ...         summary="one line about it",
    ...     )
    """


@hookspec
def calve_register_datasets() -> Iterable[specs.DatasetSpec]:  # type: ignore[empty-body]
    """Corpora: the stages that prepare them, and access to their utterances.

    >>> @hookimpl
    ... def calve_register_datasets():
    ...     yield DatasetSpec(
    ...         name="my_corpus",
    ...         options=LazyRef("my_package.corpus:Options"),
    ...         stages=(StageSpec("scan", "list recordings", LazyRef("my_package.corpus:scan")),),
    ...         utterances=LazyRef("my_package.corpus:utterances"),
    ...         splits=("train", "test"),
    ...         summary="one line about it",
    ...     )
    """


@hookspec
def calve_register_commands() -> Iterable[specs.CommandSpec]:  # type: ignore[empty-body]
    """Extra commands of the ``calve`` group.

    >>> @hookimpl
    ... def calve_register_commands():
    ...     yield CommandSpec(
    ...         name="hello",
    ...         command=LazyRef("my_package.commands:hello"),
    ...         short_help="Say hello.",
    ...     )
    """


@hookspec
def calve_stage_finished(stage: str, seconds: float, report: Mapping[str, object]) -> None:
    """Called when a stage of preparation, training or export has succeeded.

    >>> @hookimpl
    ... def calve_stage_finished(stage, seconds, report):
    ...     print(f"{stage} took {seconds:.1f} s")
    """


@hookspec
def calve_train_metrics(step: int, metrics: Mapping[str, float]) -> None:
    """Called with the metrics of a training step (loss, lr, ...), for trackers and loggers.

    >>> @hookimpl
    ... def calve_train_metrics(step, metrics):
    ...     print(step, metrics["loss"])
    """
