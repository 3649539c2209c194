"""Ranges of the numbers that options and files state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calve.common.printable import shortened
from calve.errors import ConfigError

__all__ = ["ANY_NUMBER", "Range", "check_ranges"]


@dataclass(frozen=True)
class Range:
    """The numbers from ``minimum`` to ``maximum``, both included; NaN is in no range.

    A field of a configuration dataclass states its range as ``metadata={"range": Range(1, 64)}``.
    `calve.common.config` checks it for values from options, TOML and JSON; `check_ranges` in
    ``__post_init__`` checks it for values from Python too.

    Attributes:
      minimum: Smallest number.
      maximum: Largest number.
      above_minimum: Whether ``minimum`` itself is excluded.
    """

    minimum: float
    maximum: float
    above_minimum: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)):
            return False
        if self.above_minimum and value == self.minimum:
            return False
        return self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        if self.above_minimum:
            return f"above {_plain(self.minimum)} and at most {_plain(self.maximum)}"
        return f"from {_plain(self.minimum)} to {_plain(self.maximum)}"

    def first_outside(self, value: Any) -> int | float | None:
        """The first number outside of the range in a value; None if there is none.

        Args:
          value: A number, or a list, tuple or dict of such values. Anything else, and booleans, is
            no number.
        """
        if isinstance(value, (tuple, list)):
            return next((one for one in map(self.first_outside, value) if one is not None), None)
        if isinstance(value, Mapping):
            return self.first_outside(list(value.values()))
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if is_number and value not in self else None

    def check(self, name: str, value: Any, where: str | None = None) -> None:
        """Check that every number in a value is in the range.

        Args:
          name: What the value is called.
          value: As for `first_outside`.
          where: The place of the value.

        Raises:
          ConfigError: if a number is not.
        """
        outside = self.first_outside(value)
        if outside is not None:
            raise ConfigError(f"{name} is {shortened(outside)}; it must be {self}", where=where)

    def hull(self, other: Range) -> Range:
        """The smallest range that contains both."""
        lower = min((self, other), key=lambda one: (one.minimum, one.above_minimum))
        return Range(lower.minimum, max(self.maximum, other.maximum), lower.above_minimum)


_GREATEST_FLOAT = 1.7976931348623157e308

ANY_NUMBER = Range(-_GREATEST_FLOAT, _GREATEST_FLOAT)
"""The range of a field that states none: every finite number."""


def check_ranges(config: Any) -> None:
    """Check the numbers of a configuration dataclass, for its ``__post_init__``.

    Raises:
      ConfigError: if a number is outside of the range that its field states.
    """
    for field in dataclasses.fields(config):
        limits: Range = field.metadata.get("range", ANY_NUMBER)
        limits.check(field.name, getattr(config, field.name))


def _plain(number: float) -> str:
    """Integers without a point, whatever their type."""
    if math.isfinite(number) and abs(number) < 1e15 and number == int(number):
        return str(int(number))
    return f"{number:g}"
