"""calve: train, export and run streaming transducer speech recognisers.

The names here are imported when they are first used, so that ``import calve`` imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calve.bundle import open_bundle
    from calve.exporting import export
    from calve.models import load_model
    from calve.quantization import quantize
    from calve.recognizers import transcribe
    from calve.searching import search

    __version__: str

__all__ = ["__version__", "export", "load_model", "open_bundle", "quantize", "search", "transcribe"]

_MODULES = {
    "export": "calve.exporting",
    "load_model": "calve.models",
    "open_bundle": "calve.bundle",
    "quantize": "calve.quantization",
    "search": "calve.searching",
    "transcribe": "calve.recognizers",
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
