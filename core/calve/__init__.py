"""calve: train, export and run streaming transducer speech recognizers.

The names here are imported when they are first used, so that ``import calve`` imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calve.bundles.trial import open_session
    from calve.decoding.recognizers import transcribe
    from calve.decoding.search import search
    from calve.exporting.export import export
    from calve.exporting.quantization import quantize
    from calve.models.loading import load_model
    from calve.training.preparation import prepare
    from calve.training.run import train

    __version__: str

__all__ = [
    "__version__",
    "export",
    "load_model",
    "open_session",
    "prepare",
    "quantize",
    "search",
    "train",
    "transcribe",
]

_MODULES = {
    "export": "calve.exporting.export",
    "load_model": "calve.models.loading",
    "open_session": "calve.bundles.trial",
    "prepare": "calve.training.preparation",
    "quantize": "calve.exporting.quantization",
    "search": "calve.decoding.search",
    "train": "calve.training.run",
    "transcribe": "calve.decoding.recognizers",
}


_RENAMED = {"open_bundle": "open_session"}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        new = _RENAMED[name]
        warnings.warn(f"calve.{name} is now calve.{new}", DeprecationWarning, stacklevel=2)
        return __getattr__(new)
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
