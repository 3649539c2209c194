"""Whether the user trusts files that may hold code: ``--trust``, or ``CALVE_TRUST=1``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["TRUST_VARIABLE", "trusting", "trusts_files"]

TRUST_VARIABLE = "CALVE_TRUST"
"""The environment variable that ``--trust`` sets, so that child processes know too."""


def trusts_files() -> bool:
    """Whether bundles are opened without a check of what their code may do."""
    return os.environ.get(TRUST_VARIABLE) == "1"


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Trust all files within the block, if ``trust``; otherwise leave everything as it is."""
    if not trust or trusts_files():
        yield
        return
    before = os.environ.get(TRUST_VARIABLE)
    os.environ[TRUST_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRUST_VARIABLE]
        else:
            os.environ[TRUST_VARIABLE] = before
