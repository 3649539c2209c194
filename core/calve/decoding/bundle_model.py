"""A bundle as a model for decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calve.bundles.bundle import Bundle, read_manifest
from calve.bundles.trial import try_bundle
from calve.common.config import option_name, value_text
from calve.data.tokens import SymbolTable
from calve.decoding.opened_model import AnySession, OpenedModel, StreamingSetup
from calve.errors import ConfigError
from calve.protocols import OfflineSession, StreamingSession

__all__ = ["BundleModel"]


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
        """Its name in file names and tables: the name of the directory."""
        return self.path.resolve().name

    def symbols(self) -> SymbolTable:
        """Read the symbol table without loading the networks.

        Raises:
          BundleError, TokensError: if it cannot be read.
        """
        return Bundle.open(self.path).symbols

    def steps(self, chunk_size: int | None = None) -> StreamingSetup:
        """Return the setup for steps of ``chunk_size`` encoder frames; its own by default.

        Raises:
          BundleError, ConfigError: if it cannot be read, does not stream, or has no such step.
        """
        bundle = Bundle.open(self.path)
        bundle.check_streaming()
        geometry = bundle.manifest.geometry.with_chunk_size(chunk_size)
        return StreamingSetup(bundle.manifest.encoder, bundle.manifest.config["encoder"], geometry)

    def check_exported_as(self, recipe: str, overrides: Mapping[str, Mapping[str, Any]]) -> None:
        """Check that the bundle streams and was exported with the given options.

        Args:
          recipe: Name of the recipe.
          overrides: The given options by table.

        Raises:
          BundleError: if it cannot be read, or does not stream.
          ConfigError: if it belongs to another recipe, or was exported with other options.
        """
        bundle = Bundle.open(self.path)
        bundle.check_streaming()
        manifest = bundle.manifest
        if manifest.recipe != recipe:
            raise ConfigError(
                f"the bundle is of recipe {manifest.recipe}, not of {recipe}",
                where=self.path,
                fix=f"calve streaming-decode {manifest.recipe} --bundle {self.path}",
            )
        for table, options in overrides.items():
            for name, value in options.items():
                exported, flag = manifest.config[table].get(name), option_name(name)
                if value_text(value) != value_text(exported):
                    raise ConfigError(
                        f"the bundle was exported with {flag} {value_text(exported)}, "
                        f"not {value_text(value)}",
                        where=self.path,
                        fix=f"leave {flag} out, or export the checkpoint with it",
                    )

    @property
    def streaming(self) -> bool:
        """Whether it streams; otherwise it decodes whole utterances.

        Raises:
          BundleError: if it cannot be read.
        """
        return read_manifest(self.path).streaming

    def open(self) -> OpenedModel[StreamingSession]:
        """Load the bundle for streaming, after a trial in a child process.

        Raises:
          BundleError, PluginError: if it cannot be loaded, or does not stream.
        """
        bundle = Bundle.open(self.path)
        bundle.check_streaming()
        try_bundle(bundle, num_threads=self.num_threads)
        return self._opened(bundle, bundle.open_streaming_session(num_threads=self.num_threads))

    def open_offline(self) -> OpenedModel[OfflineSession]:
        """Load the bundle for whole utterances, after a trial in a child process.

        Raises:
          BundleError, PluginError: if it cannot be loaded, or streams.
        """
        bundle = Bundle.open(self.path)
        if not bundle.manifest.streaming:
            try_bundle(bundle, num_threads=self.num_threads)
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
