"""What encoders claim: formats that they can be exported to, clients that open the result."""

from __future__ import annotations

from calve.errors import ConfigError
from calve.registry import registry
from calve.specs import ClientSpec, EncoderSpec

__all__ = ["check_format_is_claimed", "claimed_clients"]


def check_format_is_claimed(recipe: str, format_name: str) -> None:
    """See that a recipe's encoder says that it can be exported to a format.

    Raises:
      ConfigError: if it does not.
      PluginError: if the recipe or its encoder is not registered.
    """
    encoder: EncoderSpec = registry().encoders.get(registry().recipes.get(recipe).encoder)
    if format_name not in encoder.formats:
        raise ConfigError(
            f"the encoder {encoder.name!r} of recipe {recipe} cannot be exported to {format_name}",
            fix=f"formats that it claims: {', '.join(encoder.formats) or 'none'}",
        )


def claimed_clients(encoder: str, format_name: str) -> tuple[ClientSpec, ...]:
    """The clients that open bundles of an encoder in a format, installed or not.

    All clients of the format, unless the metadata writer for (encoder, format) names some.

    Raises:
      PluginError: if the format is not registered.
    """
    clients = registry().exporters.get(format_name).clients
    if (encoder, format_name) not in registry().metadata_writers:
        return clients
    known = registry().metadata_writers.get((encoder, format_name)).clients
    return tuple(client for client in clients if known is None or client.name in known)
