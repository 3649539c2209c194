"""Ranges of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from calve.common.ranges import Range, check_ranges
from calve.errors import ConfigError


@pytest.mark.parametrize("number", [1, 1.5, 4, True])
def test_both_ends_are_in_a_range(number: float):
    assert number in Range(1, 4)


@pytest.mark.parametrize("number", [0, 4.5, math.nan, math.inf, -math.inf, "2", None])
def test_other_values_are_not(number: object):
    assert number not in Range(1, 4)


def test_the_minimum_may_be_excluded():
    limits = Range(0, 1, above_minimum=True)
    assert 0 not in limits
    assert 1e-300 in limits
    assert str(limits) == "above 0 and at most 1"
    assert str(Range(0.5, 64)) == "from 0.5 to 64"


@pytest.mark.parametrize(
    ("value", "outside"),
    [
        (2, None),
        (9, 9),
        ([1, 2, 9, 10], 9),
        ({"a": 1, "b": (2, 9)}, 9),
        ("9", None),
        (False, None),
        ([], None),
    ],
)
def test_the_first_number_outside_is_found_in_lists_and_tables(value: Any, outside: object):
    assert Range(1, 4).first_outside(value) == outside


@pytest.mark.parametrize(
    ("other", "hull"),
    [
        (Range(2, 3), Range(0, 4, above_minimum=True)),
        (Range(0, 9), Range(0, 9)),
        (Range(-1, 1, above_minimum=True), Range(-1, 4, above_minimum=True)),
    ],
)
def test_a_hull_contains_both(other: Range, hull: Range):
    assert Range(0, 4, above_minimum=True).hull(other) == hull
    assert other.hull(Range(0, 4, above_minimum=True)) == hull


@dataclass(frozen=True)
class _Options:
    layers: int = field(default=1, metadata={"range": Range(1, 8)})
    free: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)


def test_the_fields_of_a_dataclass_are_checked():
    assert _Options(8, -1e300).layers == 8
    with pytest.raises(ConfigError, match="layers is 9; it must be from 1 to 8"):
        _Options(9)
    with pytest.raises(ConfigError, match="free is inf"):
        _Options(free=math.inf)
