from __future__ import annotations

from typing import Any

import numba
import pytest

from calve_transducer.compilation import compiled


def test_compiles_anew_where_no_cache_folder_is_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def no_cache(*functions: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", no_cache)
    assert compiled(lambda x: x + 1)(1) == 2
