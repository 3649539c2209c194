"""A checkpoint as a model for decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calve.common.config import fields_help, value_text
from calve.data.geometry import StreamingGeometry, tail_padding
from calve.data.tokens import SymbolTable
from calve.decoding.opened_model import OpenedModel, StreamingSetup
from calve.decoding.splits import file_stamp
from calve.models.checkpoints import (
    CheckpointChoice,
    LoadedCheckpoint,
    checkpoint_files,
    load_state_dict,
)
from calve.models.live import live_runtime
from calve.models.loading import LoadedModel, ModelBuilder, load, recipe_of
from calve.models.symbols import builtin_symbols, model_symbols
from calve.protocols import LiveSession
from calve.registry.catalog import registry
from calve.registry.specs import RecipeSpec

__all__ = ["CheckpointModel", "has_chunk_size"]


@dataclass(frozen=True)
class CheckpointModel:
    """A checkpoint of a recipe, on the runtime of its family.

    Each process reads the checkpoint once, when the model is first needed, and keeps the model
    until `release`.

    Attributes:
      recipe: Name of the recipe.
      checkpoint: The checkpoint, or average of checkpoints.
      overrides: Configuration by table that the checkpoint does not determine.
      tokens: The symbol table; a builtin checkpoint brings its own.
      num_threads: Threads of torch.
    """

    recipe: str
    checkpoint: CheckpointChoice
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tokens: Path | None = None
    num_threads: int = 1

    @classmethod
    def read(
        cls,
        checkpoint: CheckpointChoice,
        *,
        recipe: str | None = None,
        encoder: Mapping[str, Any] | None = None,
        sample_rate: int | None = None,
        tokens: Path | None = None,
        num_threads: int = 1,
    ) -> CheckpointModel:
        """Read a checkpoint; it is not read again when the model is opened.

        Args:
          checkpoint: The checkpoint, or average of checkpoints.
          recipe: By default the recipe stored in the checkpoint.
          encoder: Options of the encoder; ``decode_chunk_size`` is ignored if the encoder is not
            built for one chunk size.
          sample_rate: Samples per second of the audio that it was trained on; by default the rate
            stored in the checkpoint, otherwise 16000.
          tokens: The symbol table; a builtin checkpoint brings its own.
          num_threads: Threads of torch.

        Raises:
          CheckpointError, ConfigError, PluginError: if it cannot be loaded.
        """
        weights = load_state_dict(checkpoint)
        name = recipe or recipe_of(weights)
        own_chunk = has_chunk_size(registry().recipes.get(name))
        options = {
            option: value
            for option, value in (encoder or {}).items()
            if own_chunk or option != "decode_chunk_size"
        }
        if sample_rate is not None:
            options["sample_rate"] = sample_rate
        overrides = ModelBuilder(name).by_table(options)
        model = cls(name, checkpoint, overrides, tokens, num_threads)
        model.adopt(weights)
        return model

    @cached_property
    def loaded(self) -> LoadedModel:
        """Load the model with its weights.

        Raises:
          CheckpointError, ConfigError: if it cannot be loaded.
        """
        return load(self.recipe, self.checkpoint, self.overrides)

    def adopt(self, weights: LoadedCheckpoint) -> None:
        """Use the already read content of ``checkpoint`` instead of reading it again.

        Raises:
          CheckpointError, ConfigError: if it does not fit.
        """
        self.__dict__["loaded"] = load(self.recipe, weights, self.overrides)

    def release(self) -> None:
        """Release the memory of the model; it is read again when it is needed."""
        self.__dict__.pop("loaded", None)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the model; another process reads the checkpoint itself."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def name(self) -> str:
        """Its name in file names and tables, as in icefall: ``epoch-20-avg-5``."""
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
        """Load the model.

        Raises:
          CheckpointError, ConfigError, TokensError: if it cannot be loaded.
        """
        loaded = self.loaded
        driver = live_runtime(loaded.model)
        session: LiveSession = driver.open(loaded, num_threads=self.num_threads)
        return OpenedModel(
            session=session,
            symbols=model_symbols(self.tokens, loaded),
            features=loaded.features,
            tail_padding_frames=tail_padding(session.geometry),
            runtime=loaded.family.runtime,
            encoder=loaded.encoder.name,
            config=asdict(loaded.config["encoder"]),
        )

    def symbols(self) -> SymbolTable:
        """Read the symbol table without loading the networks.

        Raises:
          ConfigError, TokensError: if there is none, or it cannot be read.
        """
        if self.tokens is not None:
            return SymbolTable.read(self.tokens)
        return builtin_symbols(self.checkpoint.checkpoint or "")

    def steps(self, chunk_size: int | None = None) -> StreamingSetup:
        """Return the setup for steps of ``chunk_size`` encoder frames; its own by default.

        Raises:
          CheckpointError, ConfigError: if it cannot be loaded, or has no such step.
        """
        loaded = self.loaded
        geometry: StreamingGeometry = loaded.model.encoder.geometry
        config = asdict(loaded.config["encoder"])
        return StreamingSetup(loaded.encoder.name, config, geometry.with_chunk_size(chunk_size))

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that determines its results, as plain data.

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


def has_chunk_size(recipe: RecipeSpec) -> bool:
    """Whether the encoder is built for one chunk size and has ``decode_chunk_size``."""
    config = registry().encoders.get(recipe.encoder).config.load()
    return "decode_chunk_size" in {field.name for field in fields_help(config)}
