"""Streams that go on where another ended."""

from __future__ import annotations

from typing import Any

import pytest

from calve.decoding.search import make_search
from calve_transducer.runtime import TorchSession

from .conftest import found, speech


@pytest.mark.parametrize(
    ("method", "options"),
    [("greedy_search", {}), ("modified_beam_search", {"beam": 1}), ("beam_search", {"beam": 1})],
)
def test_a_stream_goes_on_after_the_symbols_that_it_is_told(
    random_session: TorchSession, method: str, options: dict[str, Any]
):
    search = make_search(method, random_session, **options)
    frames = speech(60, seed=3)
    whole = found(search, frames)
    before = found(search, frames[:25])
    after = found(search, frames[25:], context=before.tokens)
    assert before.tokens + after.tokens == whole.tokens
    assert before.score + after.score == pytest.approx(whole.score)
    assert found(search, frames[25:]).tokens != after.tokens
    single = found(search, frames[25:], context=before.tokens[-1:])
    assert single.score != after.score
