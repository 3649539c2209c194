"""Inputs of decoding: a part of a corpus, and a model as a checkpoint or a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from calve.bundles.bundle import Bundle, read_manifest
from calve.common.config import value_text
from calve.data.features import FeatureConfig
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.decoding.splits import file_stamp
from calve.models.checkpoints import CheckpointChoice, LoadedCheckpoint, checkpoint_files
from calve.models.live import live_runtime
from calve.models.loading import LoadedModel, ModelBuilder, load
from calve.models.symbols import builtin_symbols, model_symbols
from calve.protocols import LiveSession, OfflineSession, Session, StreamingSession

__all__ = ["BundleModel", "CheckpointModel", "OpenedModel", "StreamingSetup"]

AnySession = TypeVar("AnySession", bound=Session)


class StreamingSetup(NamedTuple):
    """How a model is made to stream, as `calve.models.training_range` asks it.

    Attributes:
      encoder: Name of the encoder.
      config: Its options by name.
      geometry: How it steps.
    """

    encoder: str
    config: Mapping[str, Any]
    geometry: StreamingGeometry


@dataclass(frozen=True)
class OpenedModel(Generic[AnySession]):
    """A loaded model and what belongs to it.

    Attributes:
      session: The networks.
      symbols: Their symbol table.
      features: What they were trained on.
      tail_padding_frames: Silent frames that bring out the last words of a stream.
      runtime: What runs the networks.
      encoder: Name of the encoder.
      config: The encoder's options.
    """

    session: AnySession
    symbols: SymbolTable
    features: FeatureConfig
    tail_padding_frames: int
    runtime: str
    encoder: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class CheckpointModel:
    """A checkpoint of a recipe, on the runtime of its family.

    Each process reads the checkpoint once, when the model is first needed, and keeps the model
    until `release`.

    Attributes:
      recipe: Name of the recipe.
      checkpoint: Which checkpoint, or average of checkpoints.
      overrides: Configuration by table that the checkpoint leaves open.
      tokens: The symbol table; a builtin checkpoint brings its own.
      num_threads: Threads of torch.
    """

    recipe: str
    checkpoint: CheckpointChoice
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokens: Path | None = None
    num_threads: int = 1

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model with its weights.

        Raises:
          CheckpointError, ConfigError: if it cannot be loaded.
        """
        return load(self.recipe, self.checkpoint, self.overrides)

    def adopt(self, weights: LoadedCheckpoint) -> None:
        """Take what has been read from ``checkpoint`` already, instead of reading it again.

        Raises:
          CheckpointError, ConfigError: if it does not fit.
        """
        self.__dict__["loaded"] = load(self.recipe, weights, self.overrides)

    def release(self) -> None:
        """Let go of the model's memory; it is read again when it is needed again."""
        self.__dict__.pop("loaded", None)

    def __getstate__(self) -> dict[str, Any]:
        """Without the model: another process reads the checkpoint itself."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def name(self) -> str:
        """What file names and tables call it, as in icefall: ``epoch-20-avg-5``."""
        choice = self.checkpoint
        if choice.checkpoint is not None:
            return Path(choice.checkpoint.removeprefix("builtin:")).stem
        last = f"iter-{choice.iter}" if choice.iter else f"epoch-{choice.epoch}"
        averaged = "-use-averaged-model" if choice.use_averaged_model else ""
        return f"{last}-avg-{choice.avg or 1}{averaged}"

    @property
    def runtime(self) -> str:
        """Name of the driver in ``calve.runtimes`` that runs the recipe's models.

        Raises:
          PluginError: if the recipe is not registered or cannot be loaded.
        """
        return ModelBuilder(self.recipe).family.runtime

    def open(self) -> OpenedModel[LiveSession]:
        """Load it.

        Raises:
          CheckpointError, ConfigError, TokensError: if it cannot be loaded.
        """
        loaded = self.loaded
        driver = live_runtime(loaded.model)
        session: LiveSession = driver.open(loaded, num_threads=self.num_threads)
        return OpenedModel(
            session=session,
            symbols=model_symbols(self.tokens, loaded),
            features=FeatureConfig(num_mel_bins=session.feature_dim),
            tail_padding_frames=tail_padding(session.geometry),
            runtime=loaded.family.runtime,
            encoder=loaded.encoder.name,
            config=asdict(loaded.config["encoder"]),
        )

    def symbols(self) -> SymbolTable:
        """The symbol table; the networks are not loaded.

        Raises:
          ConfigError, TokensError: if there is none, or it cannot be read.
        """
        if self.tokens is not None:
            return SymbolTable.read(self.tokens)
        return builtin_symbols(self.checkpoint.checkpoint or "")

    def steps(self, chunk_size: int | None = None) -> StreamingSetup:
        """How it streams, in steps of ``chunk_size`` encoder frames; its own by default.

        Raises:
          CheckpointError, ConfigError: if it cannot be loaded, or cannot step so.
        """
        loaded = self.loaded
        geometry: StreamingGeometry = loaded.model.encoder.geometry
        config = asdict(loaded.config["encoder"])
        return StreamingSetup(loaded.encoder.name, config, geometry.with_chunk_size(chunk_size))

    def fingerprint(self) -> dict[str, Any]:
        """What decides its answers, as plain data.

        Raises:
          CheckpointError, DataError: if a file is missing.
        """
        files = [*checkpoint_files(self.checkpoint), *([self.tokens] if self.tokens else [])]
        return {
            "calve": version("calve"),
            "recipe": self.recipe,
            "overrides": {
                table: {name: value_text(value) for name, value in options.items()}
                for table, options in self.overrides.items()
            },
            "use_averaged_model": bool(self.checkpoint.use_averaged_model),
            "files": [file_stamp(path) for path in files],
        }


@dataclass(frozen=True)
class BundleModel:
    """A bundle, on the runtime of its format.

    Attributes:
      path: Its directory.
      num_threads: Threads of the runtime.
    """

    path: Path
    num_threads: int = 1

    @property
    def name(self) -> str:
        """What file names and tables call it: the directory's name."""
        return self.path.resolve().name

    def symbols(self) -> SymbolTable:
        """The symbol table; the networks are not loaded.

        Raises:
          BundleError, TokensError: if it cannot be read.
        """
        return Bundle.open(self.path).symbols

    def steps(self, chunk_size: int | None = None) -> StreamingSetup:
        """How it streams, in steps of ``chunk_size`` encoder frames; its own by default.

        Raises:
          BundleError, ConfigError: if it cannot be read, does not stream, or cannot step so.
        """
        bundle = Bundle.open(self.path)
        bundle.check_streaming()
        geometry = bundle.manifest.geometry.with_chunk_size(chunk_size)
        return StreamingSetup(bundle.manifest.encoder, bundle.manifest.config["encoder"], geometry)

    @property
    def streaming(self) -> bool:
        """Whether it streams; otherwise it is for whole utterances.

        Raises:
          BundleError: if it cannot be read.
        """
        return read_manifest(self.path).streaming

    def open(self) -> OpenedModel[StreamingSession]:
        """Load it to stream.

        Raises:
          BundleError, PluginError: if it cannot be loaded, or does not stream.
        """
        bundle = Bundle.open(self.path)
        return self._opened(bundle, bundle.open_streaming_session(num_threads=self.num_threads))

    def open_offline(self) -> OpenedModel[OfflineSession]:
        """Load it to see whole utterances.

        Raises:
          BundleError, PluginError: if it cannot be loaded, or streams.
        """
        bundle = Bundle.open(self.path)
        return self._opened(bundle, bundle.open_offline_session(num_threads=self.num_threads))

    def _opened(self, bundle: Bundle, session: AnySession) -> OpenedModel[AnySession]:
        manifest = bundle.manifest
        return OpenedModel(
            session=session,
            symbols=bundle.symbols,
            features=manifest.features,
            tail_padding_frames=manifest.tail_padding_frames,
            runtime=manifest.runtime,
            encoder=manifest.encoder,
            config=manifest.config["encoder"],
        )
