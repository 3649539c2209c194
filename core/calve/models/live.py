"""The runtime of a torch model in memory."""

from __future__ import annotations

from typing import Any

from calve.registry.discovery import load_driver

__all__ = ["is_live_model", "live_runtime"]

_PARTS = ("encoder", "decoder", "joiner", "runtime")


def is_live_model(model: Any) -> bool:
    """Whether ``model`` is what `calve.protocols.ModelFamily.build` returns."""
    return all(hasattr(model, part) for part in _PARTS)


def live_runtime(model: Any) -> Any:
    """The driver in ``calve.runtimes`` that runs a live model; the model itself names it.

    Args:
      model: What `calve.protocols.ModelFamily.build` returns.

    Raises:
      PluginError: if the driver is not there or cannot be loaded.
    """
    return load_driver("calve.runtimes", model.runtime)
