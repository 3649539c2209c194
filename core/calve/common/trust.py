"""Whether the user trusts files that may hold code: ``--trust``, or ``CALVE_TRUST=1``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from calve.common.environment import variable_set

__all__ = ["TRUST_VARIABLE", "trusting", "trusts_files"]

TRUST_VARIABLE = "CALVE_TRUST"
"""The environment variable that ``--trust`` sets, so that child processes know too."""


def trusts_files() -> bool:
    """Whether bundles are opened without a check of what their code may do."""
    return os.environ.get(TRUST_VARIABLE) == "1"


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Trust all files within the block, if ``trust``; otherwise leave everything as it is."""
    with variable_set(TRUST_VARIABLE, "1") if trust else nullcontext():
        yield
