"""A loaded model with what belongs to it, and how it is made to stream."""

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
    """How a model is made to stream, as `calve.models.training_range` asks it.

    Attributes:
      encoder: Name of the encoder.
      config: Its options by name.
      geometry: How it steps.
    """

    encoder: str
    config: Mapping[str, Any]
    geometry: StreamingGeometry

    def warnings(self, *, strict: bool = False) -> tuple[str, ...]:
        """In what it differs from what the model was trained for.

        Raises:
          ConfigError: instead, if ``strict``.
        """
        if strict:
            check_trained_for(*self)
        return tuple(untrained(*self))


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

    def setup(self, geometry: StreamingGeometry) -> StreamingSetup:
        """How it streams in steps of ``geometry``."""
        return StreamingSetup(self.encoder, self.config, geometry)
