"""Compilation of array functions with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in machine code, kept on disk, without the interpreter's lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # No folder for compiled code is writable: compile anew in every process.
        return numba.njit(nogil=True)(function)
