"""Reading of the pickle in a checkpoint without executing its code.

torch's own reader (``weights_only``) rejects everything except tensors. Many checkpoints contain
harmless other objects besides the weights: the version of torch, numbers of numpy, the Namespace of
a command line, dates, paths. This module reads them as plain Python values. For each of their
classes, torch's reader gets a stand-in that receives the pickled parts, checks them and computes
the value. No class or function is looked up by a name from the file.
"""

from __future__ import annotations

import datetime
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["read_pickled"]

_POSIX_PATHS = ("PosixPath", "PurePosixPath", "Path", "PurePath")
_WINDOWS_PATHS = ("WindowsPath", "PureWindowsPath")
_PATH_MODULES = ("pathlib", "pathlib._local")

_DICTIONARIES = (
    "icefall.utils.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
_NAMESPACES = ("argparse.Namespace", "types.SimpleNamespace")
_TYPES = ("int", "float", "str", "bool", "list", "dict", "tuple", "bytes")
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY_TYPE = re.compile(r"(b1|[iu][1248]|f[248]|c(8|16)|[SU]\d{1,6})")


def read_pickled(path: Path) -> Any:
    """Read a file of ``torch.save``, with tensors on the CPU and mapped from the file.

    Other objects become plain values: numbers, text, dictionaries, dates, pure paths. Arrays of
    numpy become tensors.

    Raises:
      Exception: of any kind, if the file is damaged, or holds anything else than tensors and these.
    """
    import torch
    from torch.serialization import safe_globals

    with safe_globals(_stand_ins()), warnings.catch_warnings():
        # torch warns about TorchScript files, which are an error here.
        warnings.simplefilter("ignore")
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    return _Plain().value(content)


def _stand_ins() -> list[Any]:
    """Return pairs of a stand-in and the name in the file that it replaces."""
    named: dict[str, Callable[..., Any]] = {
        # Pure paths, so that a checkpoint can be read on any operating system.
        **{f"{module}.{name}": PurePosixPath for module in _PATH_MODULES for name in _POSIX_PATHS},
        **{
            f"{module}.{name}": PureWindowsPath
            for module in _PATH_MODULES
            for name in _WINDOWS_PATHS
        },
        **{f"datetime.{one.__name__}": one for one in _DATES},
        **dict.fromkeys(_DICTIONARIES, dict),
        **dict.fromkeys(_NAMESPACES, _Namespace),
        **{f"builtins.{name}": _Type.named(name) for name in _TYPES},
        "builtins.frozenset": frozenset,
        "collections.defaultdict": _dictionary,
        "torch.torch_version.TorchVersion": str,
        "numpy.dtype": _NumpyType,
        "numpy.ndarray": _NumpyArray,
        **{f"{module}.scalar": _numpy_scalar for module in _NUMPY_MODULES},
        **{f"{module}._reconstruct": _numpy_array for module in _NUMPY_MODULES},
    }
    return [(stand_in, name) for name, stand_in in named.items()]


_DATES = (
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
)


class _StandIn:
    """An object that is replaced by its ``value`` after the file has been read."""

    value: Any


class _Namespace(_StandIn):
    """Attributes, as `argparse.Namespace` keeps them; becomes a dictionary."""

    def __new__(cls) -> _Namespace:
        namespace = super().__new__(cls)
        namespace.value = {}
        return namespace

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.value = dict(state)


class _Type(_StandIn):
    """A built-in type, such as the default of a defaultdict; becomes its name."""

    def __init__(self, name: str) -> None:
        self.value = name

    def __call__(self, *_: Any) -> Any:
        raise ValueError(f"builtins.{self.value} is not called while a checkpoint is read")

    @staticmethod
    def named(name: str) -> _Type:
        return _KNOWN_TYPES[name]


_KNOWN_TYPES = {name: _Type(name) for name in _TYPES}


def _dictionary(_: Any = None) -> dict[Any, Any]:
    """Return a defaultdict as a dict."""
    return {}


class _NumpyType(_StandIn):
    """The type of numpy's numbers: a kind, a size, a byte order; becomes its name."""

    def __new__(cls, name: Any = "", *_: Any) -> _NumpyType:
        if not isinstance(name, str) or not _NUMPY_TYPE.fullmatch(name):
            raise ValueError(f"GLOBAL numpy.dtype {name!r} is neither of numbers nor of text")
        dtype = super().__new__(cls)
        dtype.value = f"={name}"
        return dtype

    def __setstate__(self, state: Any) -> None:
        order, fields = state[1], state[2:5]
        if order not in ("<", ">", "=", "|") or fields != (None, None, None):
            raise ValueError("GLOBAL numpy.dtype is neither of numbers nor of text")
        self.value = f"{'=' if order == '|' else order}{self.value[1:]}"


def _numpy_scalar(dtype: _NumpyType, data: bytes) -> Any:
    """Return a Python number or text."""
    import numpy as np

    (value,) = np.frombuffer(data, dtype=dtype.value).tolist()
    return value


class _NumpyArray(_StandIn):
    """An array; becomes a tensor, or lists if it holds text."""

    def __setstate__(self, state: Any) -> None:
        import numpy as np
        import torch

        _, shape, dtype, in_fortran_order, data = state
        if not isinstance(data, bytes):
            raise ValueError("GLOBAL numpy.ndarray holds objects")
        flat = np.frombuffer(data, dtype=np.dtype(dtype.value))
        array = flat.reshape(shape, order="F" if in_fortran_order else "C")
        native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(shape)
        self.value = (
            native.tolist() if native.dtype.kind in "SU" else torch.from_numpy(native.copy())
        )


def _numpy_array(*_: Any) -> _NumpyArray:
    return _NumpyArray()


class _Plain:
    """Replaces the stand-ins in nested containers, each container once."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def value(self, value: Any) -> Any:
        """``value`` without stand-ins; lists and dictionaries are changed in place."""
        if not isinstance(value, (_StandIn, dict, list, tuple, set, frozenset)):
            return value
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = self._replaced(value)
        return known

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, _StandIn):
            return self.value(value.value)
        if isinstance(value, dict):
            for key, one in value.items():
                value[key] = self.value(one)
            return value
        if isinstance(value, list):
            value[:] = map(self.value, value)
            return value
        parts = [self.value(one) for one in value]
        unchanged = all(new is old for new, old in zip(parts, value, strict=True))
        return value if unchanged else type(value)(parts)
