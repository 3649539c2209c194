"""Why lhotse could not read something."""

from __future__ import annotations

from calve.discovery import describe

__all__ = ["reason"]


def reason(error: Exception) -> str:
    """The cause in one line, without the manifests that lhotse adds to it."""
    return describe(error).partition(" [extra info]")[0]
