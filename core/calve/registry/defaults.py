"""The defaults of the registered specs.

A plugin marks a spec as the default with ``default=True``. If several plugins mark one, there is
no default and the user must choose.
"""

from __future__ import annotations

from collections.abc import Sequence

from calve.errors import PluginError
from calve.registry.catalog import registry

__all__ = ["default_checkpoint", "default_decoding_method", "default_format"]


def default_format() -> str | None:
    """Name of the default export format; None unless exactly one is marked."""
    return _single([spec.format for spec in registry().exporters if spec.default])


def default_checkpoint() -> str | None:
    """Name of the default shipped checkpoint; None unless exactly one is marked."""
    shipped = (spec for recipe in registry().recipes for spec in recipe.pretrained)
    return _single([spec.name for spec in shipped if spec.default])


def default_decoding_method() -> str:
    """Return the name of the default decoding method.

    Raises:
      PluginError: if no plugin registers a method with ``default=True``, or several do.
    """
    methods = registry().decoding_methods
    defaults = [spec.name for spec in methods if spec.default]
    default = _single(defaults)
    if default is not None:
        return default
    known = ", ".join(methods.names()) or "none is registered"
    if not defaults:
        raise PluginError(
            "no decoding method is the default", fix=f"name a decoding method: {known}"
        )
    raise PluginError(
        f"several decoding methods are the default: {', '.join(defaults)}",
        where=" and ".join(str(methods.source(name)) for name in defaults),
        fix="name the decoding method, or name a plugin in CALVE_DISABLE_PLUGINS",
    )


def _single(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
