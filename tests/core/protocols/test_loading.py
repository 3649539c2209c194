from __future__ import annotations

import math

import pytest

from calve.api import ConfigError
from calve.protocols.loading import LoaderOptions, Shard


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_duration", 0.0),
        ("max_duration", math.nan),
        ("num_workers", -1),
    ],
)
def test_impossible_options_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        LoaderOptions(**{field: value})


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_a_share_is_one_of_those_that_there_are(rank: int, world_size: int) -> None:
    with pytest.raises(ConfigError, match="is not one of"):
        Shard(rank, world_size)
