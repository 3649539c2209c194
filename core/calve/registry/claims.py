"""Claims of encoders and exporters: supported formats, and clients that open the bundles."""

from __future__ import annotations

from calve.errors import ConfigError
from calve.registry.catalog import registry
from calve.registry.specs import ClientSpec, EncoderSpec

__all__ = ["check_format_is_claimed", "claimed_clients", "claimed_formats"]


def claimed_formats(encoder: str) -> tuple[str, ...]:
    """Formats that the encoder claims, then formats whose exporters claim the encoder.

    Raises:
      PluginError: if the encoder is not registered.
    """
    spec: EncoderSpec = registry().encoders.get(encoder)
    exporters = registry().exporters
    return spec.formats + tuple(
        name
        for name in exporters.names()
        if name not in spec.formats and encoder in exporters.get(name).encoders
    )


def check_format_is_claimed(recipe: str, format_name: str) -> None:
    """Check that the recipe's encoder claims the format, or the exporter claims the encoder.

    Raises:
      ConfigError: if neither does.
      PluginError: if the recipe or its encoder is not registered.
    """
    encoder = registry().recipes.get(recipe).encoder
    formats = claimed_formats(encoder)
    if format_name not in formats:
        raise ConfigError(
            f"the encoder {encoder!r} of recipe {recipe} cannot be exported to {format_name}",
            fix=f"formats that are claimed for it: {', '.join(formats) or 'none'}",
        )


def claimed_clients(encoder: str, format_name: str) -> tuple[ClientSpec, ...]:
    """Return the clients that open bundles of an encoder in a format, installed or not.

    All clients of the format, unless the metadata writer for (encoder, format) names some.

    Raises:
      PluginError: if the format is not registered.
    """
    clients = registry().exporters.get(format_name).clients
    if (encoder, format_name) not in registry().metadata_writers:
        return clients
    known = registry().metadata_writers.get((encoder, format_name)).clients
    return tuple(client for client in clients if known is None or client.name in known)
