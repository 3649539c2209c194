"""A running export: shared state of its steps, the parity check, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.bundles.bundle import (
    GOLDEN_FILE,
    Bundle,
    read_manifest,
    record_files,
    write_manifest,
)
from calve.bundles.golden import Golden, pcm_samples
from calve.bundles.observation import Observation, observe
from calve.common.references import LazyRef
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.geometry import tail_padding
from calve.data.tokens import SymbolTable
from calve.errors import ExportError
from calve.exporting.golden import golden_pcm, observe_offline
from calve.exporting.parity import (
    LIMITS,
    ParityReport,
    compare,
)
from calve.models.live import live_runtime
from calve.protocols import ExportWorkspace
from calve.protocols.bundles import BundleManifest
from calve.registry.catalog import registry
from calve.registry.specs import ExporterSpec

if TYPE_CHECKING:
    from calve.models.loading import LoadedModel

__all__ = ["ExportJob"]

_LONG_CHUNK = 8
"""A dynamic network is also checked with its shift multiplied by this factor."""


@dataclass(frozen=True)
class ExportJob:
    """One running export.

    Attributes:
      exporter: The format.
      loaded: The model with its weights.
      streaming: Whether the bundle streams; otherwise it is for whole utterances.
      features: The features that the model was trained on.
      folder: Temporary folder that becomes the bundle.
    """

    exporter: ExporterSpec
    loaded: LoadedModel
    streaming: bool
    features: FeatureConfig
    folder: Path

    def workspace(self, symbols: SymbolTable, options: Any, scratch: Path) -> ExportWorkspace:
        """Create the workspace that the steps of the exporter share.

        Args:
          symbols: The model's symbol table.
          options: The format's options dataclass instance.
          scratch: Folder for intermediate files.

        Raises:
          PluginError: if no metadata writer is registered for the encoder, and the format needs
            one.
        """
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
            build_export_form=partial(_rewritten, [form for form in forms if form is not None]),
        )

    def finish(self, workspace: ExportWorkspace) -> None:
        """Compare the new networks with torch, write the golden data, then the manifest.

        Raises:
          ExportError: if they do not agree, or the steps report something malformed.
        """
        manifest = self._manifest(workspace)
        golden, parity = self._compare(manifest)
        if parity.precision == "int8":
            parity.check_quantized()
        else:
            parity.check()
        golden.write(self.folder / GOLDEN_FILE)
        complete = replace(manifest, parity=parity.to_json(), files=record_files(self.folder))
        write_manifest(self.folder, complete)
        # A plugin's steps may report values that cannot be read again.
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
        live_session = live_runtime(self.loaded.model).open(
            self.loaded, conventions=self.exporter.conventions
        )
        candidate = Bundle(self.folder, manifest).open_session()
        # The coarsest precision, which has the largest limits.
        precision = max(manifest.precision.values(), key=list(LIMITS).index)
        observations, reports = [], []
        for observe_session in _ways_to_observe(manifest):
            reference = observe_session(live_session, features)
            answer = observe_session(candidate, features)
            # Quantized networks are compared with their own first outputs.
            kept = answer if precision == "int8" else reference
            observations.append(replace(kept, tokens=answer.tokens))
            reports.append(compare(reference, answer, precision=precision))
        golden = Golden(self.features.sample_rate, pcm, features, observations[0])
        return golden, sum(reports[1:], start=reports[0])


def _checked_precision(precision: Any, exporter: ExporterSpec) -> dict[str, str]:
    """Return the reported precision of each network's weights.

    Raises:
      ExportError: if the report is missing or malformed.
    """
    if not isinstance(precision, dict) or not precision or not {*precision.values()} <= {*LIMITS}:
        raise ExportError(
            f"the steps of format {exporter.format} report the precision {precision!r}",
            where=str(registry().exporters.source(exporter.format)),
            fix="a step must set workspace.report['precision'], a name for each network: "
            f"{', '.join(LIMITS)}",
        )
    return precision


def _rewritten(forms: Sequence[LazyRef], encoder: Any) -> Any:
    """Apply each of the functions to the encoder in turn."""
    for form in forms:
        encoder = form.load()(encoder)
    return encoder


def _ways_to_observe(manifest: BundleManifest) -> list[Callable[[Any, Any], Observation]]:
    """Return the observations to make: with the own chunk and, if dynamic, a longer one."""
    if not manifest.streaming:
        return [observe_offline]
    geometries = [manifest.geometry]
    if manifest.geometry.dynamic:
        longer = manifest.geometry.chunk_ms * _LONG_CHUNK
        geometries.append(manifest.geometry.with_chunk_ms(longer))
    return [partial(observe, geometry=geometry) for geometry in geometries]


def _tools() -> dict[str, str]:
    return {name: version(name) for name in ("calve", "torch")}
