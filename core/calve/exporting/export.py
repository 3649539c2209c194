"""From a checkpoint to a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.bundles.bundle import (
    GOLDEN_FILE,
    TOKENS_FILE,
    Bundle,
    read_manifest,
    record_files,
    write_manifest,
)
from calve.common.config import resolve
from calve.common.files import atomic_dir
from calve.common.progress import NO_PROGRESS, Progress
from calve.common.references import LazyRef
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.geometry import tail_padding
from calve.data.tokens import SymbolTable
from calve.errors import ConfigError, ExportError, PluginError
from calve.exporting.golden import Golden, golden_pcm, pcm_samples
from calve.exporting.parity import (
    LIMITS,
    Observation,
    ParityReport,
    compare,
    observe,
    observe_offline,
)
from calve.models.symbols import model_symbols
from calve.models.training_range import check_trained_for
from calve.protocols import ExportWorkspace
from calve.protocols.bundles import BundleManifest
from calve.protocols.states import streaming_obstacle
from calve.registry.catalog import registry
from calve.registry.claims import check_format_is_claimed
from calve.registry.discovery import load_driver
from calve.registry.pipeline import run_steps
from calve.registry.requirements import missing_for_extra
from calve.registry.specs import ExporterSpec

if TYPE_CHECKING:
    from calve.models.checkpoints import CheckpointChoice
    from calve.models.loading import LoadedModel

__all__ = ["export", "try_export"]

_LONG_CHUNK = 8
"""A dynamic network is checked with its own shift and with one so many times longer."""


def export(
    recipe: str,
    *,
    checkpoint: str | PathLike[str] | CheckpointChoice,
    output: str | PathLike[str],
    tokens: str | PathLike[str] | None = None,
    format: str = "ncnn",  # noqa: A002
    overwrite: bool = False,
    streaming: bool | None = None,
    strict: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> Bundle:
    """Turn a checkpoint into a bundle that a device runtime opens.

    The bundle is written whole or not at all: on any error, Ctrl-C included, ``output`` is as it
    was.

    Args:
      recipe: Name of the recipe that the checkpoint was trained with.
      checkpoint: A file, "builtin:NAME", or a choice of checkpoints to average.
      output: Directory to create.
      tokens: The model's tokens.txt; a builtin checkpoint brings its own.
      format: Name of the export format.
      overwrite: Whether to replace ``output`` if it exists.
      streaming: Whether the bundle is to stream; otherwise it is for whole utterances. By default
        it streams if the encoder can.
      strict: Whether to refuse a chunk or a context that the model was not trained for.
      overrides: Configuration by table ("encoder", "model") that the checkpoint leaves open.
      progress: Where to say how far it is.
      **options: Options of the format, as ``calve export --help`` lists them.

    Raises:
      CheckpointError: if the checkpoint cannot be read or does not fit the recipe.
      TokensError: if the symbol table is missing or does not fit the model.
      ExportError: if a step fails, or the result does not agree with torch.
      ConfigError: if ``output`` exists, an option is wrong, the recipe's encoder cannot be
        exported to the format or cannot stream and must, or, under ``strict``, it was not trained
        for its geometry.
      PluginError: if the recipe or format is not registered or not usable.
    """
    check_format_is_claimed(recipe, format)
    return try_export(
        recipe,
        checkpoint=checkpoint,
        output=output,
        tokens=tokens,
        format=format,
        overwrite=overwrite,
        streaming=streaming,
        strict=strict,
        overrides=overrides,
        progress=progress,
        **options,
    )


def try_export(
    recipe: str,
    *,
    checkpoint: str | PathLike[str] | CheckpointChoice,
    output: str | PathLike[str],
    tokens: str | PathLike[str] | None = None,
    format: str = "ncnn",  # noqa: A002
    overwrite: bool = False,
    streaming: bool | None = None,
    strict: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> Bundle:
    """As `export`, whether the recipe's encoder claims the format or not."""
    from calve.models.loading import load

    exporter = _usable_exporter(format)
    if streaming is False and not exporter.offline:
        raise ConfigError(
            f"{format} bundles stream; they cannot be for whole utterances",
            fix=f"for whole utterances, export it to {_offline_formats()}",
        )
    format_options = resolve(exporter.options.load(), options)
    with (
        atomic_dir(Path(output), overwrite=overwrite) as folder,
        tempfile.TemporaryDirectory(prefix="calve-export-") as scratch,
    ):
        loaded = load(recipe, checkpoint, overrides)
        streams = _whether_to_stream(loaded.model.encoder, exporter, streaming)
        if strict and streams:
            config = asdict(loaded.config["encoder"])
            check_trained_for(loaded.encoder.name, config, loaded.model.encoder.geometry)
        features = FeatureConfig(num_mel_bins=loaded.model.encoder.feature_dim)
        job = _Job(exporter, loaded, streams, features, folder)
        symbols = model_symbols(tokens, loaded)
        symbols.write(folder / TOKENS_FILE)
        workspace = job.workspace(symbols, format_options, Path(scratch))
        run_steps(
            exporter.steps,
            workspace,
            kind="export step",
            error=ExportError,
            progress=progress,
            reports=workspace.report,
        )
        progress.start("check parity with torch")
        job.finish(workspace)
        progress.finish()
    return Bundle.open(output)


@dataclass(frozen=True)
class _Job:
    """One export on its way; ``folder`` becomes the bundle."""

    exporter: ExporterSpec
    loaded: LoadedModel
    streaming: bool
    features: FeatureConfig
    folder: Path

    def workspace(self, symbols: SymbolTable, options: Any, scratch: Path) -> ExportWorkspace:
        geometry = self.loaded.model.encoder.geometry
        forms = [self.loaded.encoder.export_form]
        metadata: dict[str, int | str] = {}
        names: tuple[str, ...] = ()
        if self.exporter.metadata is not None:
            key = (self.loaded.encoder.name, self.exporter.format)
            writer = registry().metadata_writers.get(key)
            metadata = writer.table.load()(self.loaded.config["encoder"], geometry)
            names = writer.state_names
            forms.append(writer.arrange)
        return ExportWorkspace(
            model=self.loaded.family.to_plain(self.loaded.model),
            trained=self.loaded.model,
            encoder_name=self.loaded.encoder.name,
            config={name: asdict(table) for name, table in self.loaded.config.items()},
            geometry=geometry,
            streaming=self.streaming,
            symbols=symbols,
            metadata=metadata,
            state_names=names,
            options=options,
            folder=self.folder,
            scratch=scratch,
            build_export_form=partial(_reformed, [form for form in forms if form is not None]),
        )

    def finish(self, workspace: ExportWorkspace) -> None:
        """Compare the new networks with torch, keep golden numbers, write the manifest last."""
        manifest = self._manifest(workspace)
        golden, parity = self._compare(manifest)
        if parity.precision == "int8":
            parity.check_quantized()
        else:
            parity.check()
        golden.write(self.folder / GOLDEN_FILE)
        complete = replace(manifest, parity=parity.to_json(), files=record_files(self.folder))
        write_manifest(self.folder, complete)
        # What steps of a plugin reported may be something that nobody could read again.
        read_manifest(self.folder)

    def _manifest(self, workspace: ExportWorkspace) -> BundleManifest:
        from calve.models.loading import parameter_counts

        report = dict(workspace.report)
        precision = _checked_precision(report.pop("precision", None), self.exporter)
        tools = report.pop("tools", {})
        model_config = workspace.config["model"]
        return BundleManifest(
            format=self.exporter.format,
            runtime=self.exporter.runtime,
            recipe=self.loaded.recipe.name,
            encoder=workspace.encoder_name,
            config=workspace.config,
            provenance=self.loaded.checkpoint.provenance,
            geometry=workspace.geometry,
            tail_padding_frames=tail_padding(workspace.geometry) if self.streaming else 0,
            features=self.features,
            blank_id=workspace.symbols.blank_id,
            unk_id=workspace.symbols.unk_id,
            context_size=model_config["context_size"],
            vocab_size=len(workspace.symbols),
            precision=precision,
            parameters=parameter_counts(workspace.model),
            tools=_tools() | tools,
            metadata=workspace.metadata,
            parity={},
            streaming=self.streaming,
            steps=report,
        )

    def _compare(self, manifest: BundleManifest) -> tuple[Golden, ParityReport]:
        pcm = golden_pcm(self.loaded.recipe, self.features.sample_rate)
        features = compute_fbank(pcm_samples(pcm), self.features)
        torch_session = load_driver("calve.runtimes", "torch").open(
            self.loaded, conventions=self.exporter.conventions
        )
        candidate = Bundle(self.folder, manifest).open_session()
        # The coarsest: what the limits allow grows from one to the next.
        precision = max(manifest.precision.values(), key=list(LIMITS).index)
        observations, reports = [], []
        for observe_session in _ways_to_observe(manifest):
            reference = observe_session(torch_session, features)
            answer = observe_session(candidate, features)
            # Quantized weights are held to what they answered when they were new.
            kept = answer if precision == "int8" else reference
            observations.append(replace(kept, tokens=answer.tokens))
            reports.append(compare(reference, answer, precision=precision))
        golden = Golden(self.features.sample_rate, pcm, features, observations[0])
        return golden, sum(reports[1:], start=reports[0])


def _checked_precision(precision: Any, exporter: ExporterSpec) -> dict[str, str]:
    """What the steps reported of the weights of each network.

    Raises:
      ExportError: if they did not.
    """
    if not isinstance(precision, dict) or not precision or not {*precision.values()} <= {*LIMITS}:
        raise ExportError(
            f"the steps of format {exporter.format} report the precision {precision!r}",
            where=str(registry().exporters.source(exporter.format)),
            fix="a step must set workspace.report['precision'], a name for each network: "
            f"{', '.join(LIMITS)}",
        )
    return precision


def _reformed(forms: Sequence[LazyRef], encoder: Any) -> Any:
    """The encoder after each of the functions in turn."""
    for form in forms:
        encoder = form.load()(encoder)
    return encoder


def _usable_exporter(format_name: str) -> ExporterSpec:
    """The exporter, if what it needs is installed.

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
    """As it is wanted; else whether the encoder can.

    Raises:
      ConfigError: if the encoder cannot stream and must, also because the format is for nothing
        else.
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


def _ways_to_observe(manifest: BundleManifest) -> list[Callable[[Any, Any], Observation]]:
    """In the chunks of a network that streams, and if it is dynamic in longer ones as well."""
    if not manifest.streaming:
        return [observe_offline]
    geometries = [manifest.geometry]
    if manifest.geometry.dynamic:
        longer = manifest.geometry.chunk_ms * _LONG_CHUNK
        geometries.append(manifest.geometry.with_chunk_ms(longer))
    return [partial(observe, geometry=geometry) for geometry in geometries]


def _tools() -> dict[str, str]:
    return {name: version(name) for name in ("calve", "torch")}
