"""Types of the values of options: those of the fields of dataclasses, and numbers in a range."""

from __future__ import annotations

import typing
from typing import Any

import click

from calve.common.config import parse_text
from calve.common.printable import shortened
from calve.common.ranges import ANY_NUMBER, Range

__all__ = ["BOOLEAN", "CHUNK_MS", "FieldType", "integer", "number"]


class FieldType(click.ParamType):  # type: ignore[type-arg]  # not generic in older click
    """The click type of a field of a configuration dataclass."""

    def __init__(self, name: str, annotation: Any, limits: Range = ANY_NUMBER) -> None:
        self.name = name
        self.annotation = annotation
        self.limits = limits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parsed = parse_text(value, self.annotation)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        outside = self.limits.first_outside(parsed)
        if outside is not None:
            self.fail(f"{shortened(outside)} is not {self.limits}", param, ctx)
        return parsed

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return _metavar(self.annotation)


BOOLEAN = FieldType("boolean", bool)
"""The type of boolean options that are not fields; it accepts the same values as fields do."""


def integer(minimum: int, maximum: int) -> FieldType:
    """The type of an integer option that is no field of a dataclass."""
    return FieldType("integer", int, Range(minimum, maximum))


def number(limits: Range) -> FieldType:
    """The type of an option that is no field of a dataclass, and takes any number in a range."""
    return FieldType("number", float, limits)


CHUNK_MS = integer(1, 600_000)
"""The type of ``--chunk-ms``: up to ten minutes."""


def _metavar(annotation: Any) -> str:
    arguments = [a for a in typing.get_args(annotation) if a not in (Ellipsis, type(None))]
    if typing.get_origin(annotation) is typing.Literal:
        return f"[{'|'.join(map(str, arguments))}]"
    if typing.get_origin(annotation) in (tuple, list):
        return f"{_metavar(arguments[0])},..."
    if arguments:
        return "|".join(map(_metavar, arguments))
    return "[0|1]" if annotation is bool else str(getattr(annotation, "__name__", "value")).upper()
