"""Export of a checkpoint as a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.bundles.bundle import TOKENS_FILE, Bundle
from calve.bundles.trial import mark_tried
from calve.common.config import resolve
from calve.common.files import atomic_dir, scratch_folder
from calve.common.paths import check_native_path
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.errors import ConfigError, ExportError, PluginError
from calve.exporting.jobs import ExportJob
from calve.exporting.request import ExportRequest
from calve.models.symbols import model_symbols
from calve.models.training_range import check_trained_for
from calve.protocols.states import streaming_obstacle
from calve.registry.catalog import registry
from calve.registry.claims import check_format_is_claimed
from calve.registry.defaults import default_format
from calve.registry.pipeline import run_steps
from calve.registry.requirements import missing_for_extra
from calve.registry.specs import ExporterSpec

if TYPE_CHECKING:
    from calve.models.checkpoints import CheckpointChoice

__all__ = ["export", "export_unclaimed"]


def export(
    recipe: str,
    *,
    checkpoint: str | PathLike[str] | CheckpointChoice,
    output: str | PathLike[str],
    tokens: str | PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
    streaming: bool | None = None,
    strict: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> Bundle:
    """Export a checkpoint as a bundle for a device.

    The bundle is written whole or not at all. On any error, including Ctrl-C, ``output`` stays
    unchanged.

    Args:
      recipe: Name of the recipe that the checkpoint was trained with.
      checkpoint: A file, "builtin:NAME", or a choice of checkpoints to average.
      output: Directory to create.
      tokens: The model's tokens.txt; not needed for a builtin checkpoint.
      format: Name of the export format. None means the default of ``calve export``.
      overwrite: Whether to replace ``output`` if it exists.
      streaming: Whether the bundle is for streaming; otherwise for whole utterances. By default it
        is for streaming if the encoder can stream.
      strict: Whether to reject a chunk or a context for which the model was not trained.
      overrides: Configuration by table ("encoder", "model") that the checkpoint leaves open.
      progress: Shows the running step.
      **options: Options of the format, as ``calve export --help`` lists them.

    Raises:
      CheckpointError: if the checkpoint cannot be read or does not fit the recipe.
      TokensError: if the symbol table is missing or does not fit the model.
      ExportError: if a step fails, or the result does not agree with torch.
      ConfigError: if ``output`` exists, an option is wrong, the recipe's encoder cannot be exported
        to the format or cannot stream and must, or, with ``strict``, the model was not trained for
        its geometry.
      PluginError: if the recipe or the format is not registered or not usable.
    """
    if format is None:
        format = default_format()  # noqa: A001
    if format is None:
        raise ConfigError(
            "there is no default export format",
            fix=f"name one: {', '.join(registry().exporters.names()) or 'none is registered'}",
        )
    request = ExportRequest(
        recipe=recipe,
        checkpoint=checkpoint,
        output=output,
        format=format,
        tokens=tokens,
        overwrite=overwrite,
        streaming=streaming,
        strict=strict,
        overrides=overrides,
        options=options,
    )
    check_format_is_claimed(request.recipe, request.format)
    return export_unclaimed(request, progress)


def export_unclaimed(request: ExportRequest, progress: Progress = NO_PROGRESS) -> Bundle:
    """Export like `export`, even if the recipe's encoder does not claim the format.

    Raises:
      CalveError: as `export` says, except that the claim is not checked.
    """
    from calve.models.loading import load

    exporter = _usable_exporter(request.format)
    if request.streaming is False and not exporter.offline:
        raise ConfigError(
            f"{exporter.format} bundles stream; they cannot be for whole utterances",
            fix=f"for whole utterances, export it to {_offline_formats()}",
        )
    options = resolve(exporter.options.load(), request.options)
    check_native_path(request.output, ConfigError)
    with (
        atomic_dir(Path(request.output), overwrite=request.overwrite) as folder,
        scratch_folder("calve-export-") as scratch,
    ):
        loaded = load(request.recipe, request.checkpoint, request.overrides)
        encoder = loaded.model.encoder
        streams = _whether_to_stream(encoder, exporter, request.streaming)
        if request.strict and streams:
            check_trained_for(
                loaded.encoder.name, asdict(loaded.config["encoder"]), encoder.geometry
            )
        job = ExportJob(exporter, loaded, streams, loaded.features, folder)
        symbols = model_symbols(request.tokens, loaded)
        symbols.write(folder / TOKENS_FILE)
        workspace = job.workspace(symbols, options, scratch)
        run_steps(
            exporter.steps,
            workspace,
            kind="export step",
            error=ExportError,
            progress=progress,
            reports=workspace.report,
        )
        with tracked(progress, "check parity with torch"):
            job.finish(workspace)
    bundle = Bundle.open(request.output)
    mark_tried(bundle)
    return bundle


def _usable_exporter(format_name: str) -> ExporterSpec:
    """Return the exporter of the format if the packages that it needs are installed.

    Raises:
      PluginError: if not.
    """
    exporter = registry().exporters.get(format_name)
    if exporter.extra is not None and (missing := missing_for_extra("calve", exporter.extra)):
        raise PluginError(
            f"the format {format_name} needs {' and '.join(missing)}, which is not installed",
            fix=f"pip install 'calve[{exporter.extra}]'",
        )
    return exporter


def _whether_to_stream(encoder: Any, exporter: ExporterSpec, wanted: bool | None) -> bool:
    """Return the user's choice; by default, whether the encoder can stream.

    Raises:
      ConfigError: if the encoder cannot stream although the user or the format requires it.
    """
    obstacle = streaming_obstacle(encoder)
    if obstacle is not None and (wanted or not exporter.offline):
        raise ConfigError(
            obstacle.what,
            fix=f"{obstacle.fix or 'change its options'}; or, for whole utterances, export it to "
            f"{_offline_formats()} with --streaming-model 0",
        )
    return obstacle is None if wanted is None else wanted


def _offline_formats() -> str:
    return " or ".join(one.format for one in registry().exporters if one.offline)
