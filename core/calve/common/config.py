"""Configuration: dataclasses from layers of TOML tables and options, with checks.

A value must be of its field's type and, if it is a number, within the range that the field states
as ``metadata={"range": Range(...)}`` (`calve.common.ranges`).

No validation library is used, because one dataclass serves a recipe's TOML file, the options of a
command with their help, and Python, and because start-up must stay fast.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from calve.common.inputs import read_text
from calve.common.printable import shortened
from calve.common.ranges import ANY_NUMBER, Range
from calve.common.references import Resource
from calve.common.suggest import did_you_mean
from calve.errors import ConfigError

__all__ = [
    "ConfigField",
    "check_options",
    "fields_help",
    "load_toml",
    "option_name",
    "parse_text",
    "resolve",
    "value_text",
]

T = TypeVar("T")

_LONGEST_KEY = 40

_TRUE_WORDS = ("1", "true", "t", "yes", "y", "on")
_FALSE_WORDS = ("0", "false", "f", "no", "n", "off")
_TYPE_WORDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    type(None): "none",
    Any: "anything",
}
_TYPED_WORDS = _TYPE_WORDS | {bool: "0 or 1"}
"""The same for values typed as options."""


@dataclass(frozen=True)
class ConfigField:
    """One field of a configuration dataclass, for help texts and options.

    Attributes:
      name: Name of the field.
      annotation: Resolved type.
      type_name: Type in words, for example "integer" or "a list of integer".
      default: Default; meaningless if ``required``.
      required: Whether a value is required.
      help: The field's ``metadata["help"]``, or "".
      range: The field's ``metadata["range"]``: that of every number in its value.
    """

    name: str
    annotation: Any
    type_name: str
    default: Any
    required: bool
    help: str
    range: Range = ANY_NUMBER


def fields_help(cls: type) -> tuple[ConfigField, ...]:
    """The fields that `resolve` fills for ``cls``, in order of declaration."""
    annotations = typing.get_type_hints(cls)
    return tuple(
        ConfigField(
            name=field.name,
            annotation=annotations[field.name],
            type_name=_type_name(annotations[field.name]),
            default=_default(field),
            required=_default(field) is dataclasses.MISSING,
            help=str(field.metadata.get("help", "")),
            range=field.metadata.get("range", ANY_NUMBER),
        )
        for field in dataclasses.fields(cls)
        if field.init
    )


def resolve(cls: type[T], *layers: Mapping[str, Any]) -> T:
    """Make an instance of the dataclass ``cls``; later layers override earlier ones.

    Integers are accepted for floats, strings for paths, and TOML arrays for tuples. Nothing else is
    converted. Entries of tables are checked like fields.

    Raises:
      ConfigError: for an unknown key, a missing field, a value of the wrong type, or a number
        outside of the field's range. NaN and infinity are outside of every range.
    """
    fields = {field.name: field for field in fields_help(cls)}
    values: dict[str, Any] = {}
    for layer in layers:
        values |= _fitted(layer, fields, cls.__name__)
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        raise ConfigError(f"{cls.__name__} needs a value for {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(str(error), where=cls.__name__) from error


def check_options(options: Mapping[str, Any], *classes: type, place: str) -> None:
    """Check options before they are merged, so that errors can name their place.

    Args:
      options: Values by name, each of a field of one of ``classes``.
      place: The place of the options, in words.

    Raises:
      ConfigError: for a name that no class has, a value of the wrong type, or a number outside of
        its range.
    """
    _fitted(options, {field.name: field for cls in classes for field in fields_help(cls)}, place)


def load_toml(source: Resource | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
      ConfigError: if it cannot be read or is not TOML; the message names the file and the line.
    """
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    where = f"{source.package}/{source.path}" if isinstance(source, Resource) else str(source)
    try:
        if isinstance(source, Resource):
            text = source.read_text()
        else:
            text = read_text(source, "configuration", ConfigError)
        table: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ConfigError(f"this is not valid TOML: {error}", where=where) from error
    except RecursionError:
        raise ConfigError("this TOML is nested too deeply", where=where) from None
    except (OSError, ModuleNotFoundError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the configuration: {reason}", where=where) from error
    return table


def parse_text(text: str, annotation: Any) -> Any:
    """Parse a value of type ``annotation`` from a command line.

    Booleans are 0/1, true/false, yes/no; sequences are separated by commas; "none" is None if
    None is allowed.

    Raises:
      ValueError: if ``text`` is not such a value; the message names the expected type.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_union(origin):
        return _parse_union(text, arguments)
    if origin is typing.Literal:
        for choice in arguments:
            if str(choice) == text:
                return choice
    elif origin in (tuple, list):
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        item_types = _item_types(annotation, len(parts))
        if len(item_types) == len(parts):
            return origin(map(parse_text, parts, item_types))
    elif annotation is bool:
        if text.lower() in _TRUE_WORDS:
            return True
        if text.lower() in _FALSE_WORDS:
            return False
    elif annotation in (int, float):
        try:
            return annotation(text)
        except ValueError:
            pass
    elif annotation is Path:
        return Path(text)
    else:
        return text
    raise ValueError(f"{shortened(text)} is not {_article(_type_name(annotation, _TYPED_WORDS))}")


def option_name(field_name: str) -> str:
    """Return the command-line option of a field: ``rnn_hidden_size`` is ``--rnn-hidden-size``."""
    return f"--{field_name.replace('_', '-')}"


def value_text(value: Any) -> str:
    """Format a value for the command line; `parse_text` reads it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (tuple, list)):
        return ",".join(map(value_text, value))
    return "none" if value is None else str(value)


def _parse_union(text: str, arguments: tuple[Any, ...]) -> Any:
    if type(None) in arguments and text.lower() == "none":
        return None
    for argument in arguments:
        try:
            if argument is not type(None):
                return parse_text(text, argument)
        except ValueError:
            continue
    expected = " or ".join(_type_name(argument, _TYPED_WORDS) for argument in arguments)
    raise ValueError(f"{shortened(text)} is not {expected}")


def _fitted(
    options: Mapping[str, Any], fields: Mapping[str, ConfigField], place: str
) -> dict[str, Any]:
    """Convert the values to the types of their fields."""
    for key in options:
        if key not in fields:
            raise ConfigError(
                f"{place} has no option {shortened(key)}",
                fix=did_you_mean(key, fields) or f"it has {', '.join(fields) or 'none'}",
            )
    return {key: _checked(value, fields[key], f"{place}.{key}") for key, value in options.items()}


def _checked(value: Any, field: ConfigField, where: str) -> Any:
    fitted = _fit(value, field.annotation, where)
    field.range.check(field.name, fitted, where)
    return fitted


def _fit(value: Any, annotation: Any, where: str) -> Any:
    """Convert ``value`` to ``annotation``, or raise `ConfigError`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if _is_union(origin):
        for argument in arguments:
            try:
                return _fit(value, argument, where)
            except ConfigError:
                continue
    elif origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin in (tuple, list):
        if isinstance(value, (tuple, list)):
            item_types = _item_types(annotation, len(value))
            if len(item_types) == len(value):
                return origin(_fit(v, t, where) for v, t in zip(value, item_types, strict=True))
    elif origin is dict:
        if isinstance(value, dict):
            key_type, value_type = arguments
            return {
                _fit(k, key_type, where): _fit(v, value_type, f"{where}.{_cut(k)}")
                for k, v in value.items()
            }
    elif annotation is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _float(value)
    elif annotation is Path:
        if isinstance(value, (str, Path)):
            return Path(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, origin or annotation):
        return value
    raise ConfigError(f"{shortened(value)} is not {_article(_type_name(annotation))}", where=where)


def _cut(key: object) -> str:
    """A key for messages; what a file holds may be long."""
    text = str(key)
    return text if len(text) <= _LONGEST_KEY else f"{text[:_LONGEST_KEY]}..."


def _float(value: float) -> float:
    """Convert to float; too large integers become infinity, which is in no range."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_union(origin: Any) -> bool:
    return origin is typing.Union or origin is types.UnionType


def _item_types(annotation: Any, count: int) -> tuple[Any, ...]:
    """Return the types of ``count`` items; the length differs if ``count`` is wrong."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is list or arguments[-1:] == (Ellipsis,):
        return (arguments[0],) * count
    return arguments


def _type_name(annotation: Any, names: Mapping[Any, str] = _TYPE_WORDS) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if _is_union(origin):
        return " or ".join(_type_name(argument, names) for argument in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(argument) for argument in arguments)
    if origin in (tuple, list):
        words = [_type_name(a, names) for a in arguments if a is not Ellipsis]
        return f"list of {', '.join(words)}"
    if origin is dict:
        return "table"
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _article(words: str) -> str:
    if words.startswith(("one of", "0")):
        return words
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
