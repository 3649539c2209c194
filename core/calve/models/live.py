"""The runtime of a torch model in memory."""

from __future__ import annotations

from typing import Any

from calve.registry.discovery import load_driver

__all__ = ["is_live_model", "live_runtime"]

_PARTS = ("encoder", "decoder", "joiner", "runtime")


def is_live_model(model: Any) -> bool:
    """Whether ``model`` is a result of `calve.protocols.ModelFamily.build`."""
    return all(hasattr(model, part) for part in _PARTS)


def live_runtime(model: Any) -> Any:
    """Return the driver in ``calve.runtimes`` that the model names.

    Args:
      model: A result of `calve.protocols.ModelFamily.build`.

    Raises:
      PluginError: if the driver is missing or cannot be loaded.
    """
    return load_driver("calve.runtimes", model.runtime)
