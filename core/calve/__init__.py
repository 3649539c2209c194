"""calve: train, export and run streaming transducer speech recognisers.

The names here are imported when they are first used, so that ``import calve`` imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calve.bundles.bundle import open_bundle
    from calve.decoding.recognizers import transcribe
    from calve.decoding.searching import search
    from calve.export.exporting import export
    from calve.export.quantization import quantize
    from calve.models.loading import load_model

    __version__: str

__all__ = ["__version__", "export", "load_model", "open_bundle", "quantize", "search", "transcribe"]

_MODULES = {
    "export": "calve.export.exporting",
    "load_model": "calve.models.loading",
    "open_bundle": "calve.bundles.bundle",
    "quantize": "calve.export.quantization",
    "search": "calve.decoding.searching",
    "transcribe": "calve.decoding.recognizers",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("calve")
    elif name in _MODULES:
        from importlib import import_module

        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
