"""Warns about streaming options for which a model was not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calve.common.config import resolve
from calve.data.geometry import StreamingGeometry
from calve.errors import ConfigError
from calve.registry.catalog import registry

__all__ = ["check_trained_for", "untrained"]


def untrained(encoder: str, config: Mapping[str, Any], geometry: StreamingGeometry) -> list[str]:
    """What in ``geometry`` a model was not trained for, and what it was trained for.

    Args:
      encoder: Name of the encoder. One that is not installed or any geometry suits says nothing.
      config: Its options by name, as a bundle's manifest holds them.
      geometry: How the model is made to stream.
    """
    encoders = registry().encoders
    if encoder not in encoders:
        return []
    spec = encoders.get(encoder)
    if spec.untrained is None:
        return []
    return list(spec.untrained.load()(resolve(spec.config.load(), config), geometry))


def check_trained_for(encoder: str, config: Mapping[str, Any], geometry: StreamingGeometry) -> None:
    """Refuse what `untrained` finds.

    Raises:
      ConfigError: if it finds anything.
    """
    findings = untrained(encoder, config, geometry)
    if findings:
        raise ConfigError(
            "; ".join(findings), fix="stay in the range, or leave --strict out to try it anyway"
        )
