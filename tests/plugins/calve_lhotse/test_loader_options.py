"""The options of the loaders of lhotse corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.api import ConfigError
from calve_lhotse.loader_options import LhotseLoaderOptions


@pytest.mark.parametrize(("field", "value"), [("num_buckets", 1), ("max_duration", 0.0)])
def test_impossible_options_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        LhotseLoaderOptions(**{field: value})


def test_the_symbol_table_lies_in_the_chosen_folder() -> None:
    default = Path("lang/tokens.txt")
    assert LhotseLoaderOptions().symbol_table(default) == default
    chosen = LhotseLoaderOptions(lang_dir=Path("lang_bpe_30"))
    assert chosen.symbol_table(default) == Path("lang_bpe_30/tokens.txt")
