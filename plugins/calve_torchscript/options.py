"""Options of the formats that torch loads."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NoOptions"]


@dataclass(frozen=True)
class NoOptions:
    """There is nothing to choose."""
