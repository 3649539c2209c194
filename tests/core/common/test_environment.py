from __future__ import annotations

import os
from contextlib import suppress

import pytest

from calve.common.environment import variable_set

NAME = "CALVE_TEST_OF_ENVIRONMENT"


@pytest.mark.parametrize("before", [None, "", "earlier"])
def test_a_variable_is_as_before_after_the_block(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, before)
    with suppress(KeyError), variable_set(NAME, "1"):
        assert os.environ[NAME] == "1"
        raise KeyError
    assert os.environ.get(NAME) == before
