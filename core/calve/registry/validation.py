"""Validation of what hooks return, so that a wrong value is found where it enters.

A spec is compared with the annotations of its dataclass. Only exact types pass: a subclass may
define comparison, hashing or text in a way that fails later, in a command that does not need it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["complaint_about", "is_name"]

_HINTS: dict[type[Any], dict[str, Any]] = {}
_NAMES = frozenset({"name", "format", "scheme"})


def complaint_about(spec: object, wanted: type[Any]) -> str | None:
    """Return what is wrong with a spec, in a phrase; None if it is valid.

    Args:
      spec: What a hook returned.
      wanted: The spec class that it must be an instance of.
    """
    if not _is_exactly(spec, wanted):
        return f"{type(spec).__name__} is not {wanted.__name__}"
    for name, hint in _hints(wanted).items():
        value = getattr(spec, name)
        if not _fits(value, hint):
            return f"{wanted.__name__}.{name} is {_called(value)}, not {_written(hint)}"
        if name in _NAMES and not is_name(value):
            return f"{wanted.__name__}.{name} is empty, or holds white space"
        for part in value if type(value) is tuple else (value,):
            kind: type[Any] = type(part)
            if _is_spec(kind) and (complaint := complaint_about(part, kind)):
                return complaint
    return None


def is_name(text: str) -> bool:
    """Whether it can be written on a command line without quotes."""
    return bool(text) and text.isprintable() and not any(map(str.isspace, text))


def _is_exactly(value: object, wanted: type[Any]) -> bool:
    return type(value) is wanted


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        hints = typing.get_type_hints(cls)
        _HINTS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _HINTS[cls]


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if origin is tuple:
        (item, _) = typing.get_args(hint)
        return type(value) is tuple and all(_fits(one, item) for one in value)
    if origin is Mapping:
        key, item = typing.get_args(hint)
        return isinstance(value, (dict, types.MappingProxyType)) and all(
            _fits(one, key) and _fits(other, item) for one, other in value.items()
        )
    return _is_exactly(value, hint)


def _is_spec(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) and cls.__module__ == "calve.registry.specs"


def _called(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _written(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("calve.common.references.", "")
