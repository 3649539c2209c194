"""Environment variables that are set for a block, for this process and those that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["variable_set"]


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """Set an environment variable within the block; it is as before afterwards."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
