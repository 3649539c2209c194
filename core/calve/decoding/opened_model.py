"""A loaded model with its symbols and features, and its streaming setup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from calve.data.features import FeatureConfig
from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.models.training_range import check_trained_for, untrained
from calve.protocols import Session

__all__ = ["AnySession", "OpenedModel", "StreamingSetup"]

AnySession = TypeVar("AnySession", bound=Session)


class StreamingSetup(NamedTuple):
    """The streaming setup of a model, as `calve.models.training_range` needs it.

    Attributes:
      encoder: Name of the encoder.
      config: Its options by name.
      geometry: Steps of the encoder.
    """

    encoder: str
    config: Mapping[str, Any]
    geometry: StreamingGeometry

    def warnings(self, *, strict: bool = False) -> tuple[str, ...]:
        """Return the differences from the setups that the model was trained for.

        Raises:
          ConfigError: instead, if ``strict``.
        """
        if strict:
            check_trained_for(*self)
        return tuple(untrained(*self))


@dataclass(frozen=True)
class OpenedModel(Generic[AnySession]):
    """A loaded model with everything that decoding needs.

    Attributes:
      session: The networks.
      symbols: Their symbol table.
      features: The features that the model was trained on.
      tail_padding_frames: Silent frames at the end of a stream, for its last words.
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

    def setup(self, geometry: StreamingGeometry) -> StreamingSetup:
        """Return the streaming setup with steps of ``geometry``."""
        return StreamingSetup(self.encoder, self.config, geometry)
