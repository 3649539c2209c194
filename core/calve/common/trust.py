"""Whether the user trusts files that may hold code: ``--trust``, or ``CALVE_TRUST=1``."""

from __future__ import annotations

import os

__all__ = ["TRUST_VARIABLE", "trusts_files"]

TRUST_VARIABLE = "CALVE_TRUST"
"""The environment variable that ``--trust`` sets, so that child processes know too."""


def trusts_files() -> bool:
    """Whether bundles are opened without a check of what their code may do."""
    return os.environ.get(TRUST_VARIABLE) == "1"
