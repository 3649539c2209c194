"""Exceptions of any origin, described for messages."""

from __future__ import annotations

from calve.errors import CalveError

__all__ = ["describe"]


def describe(error: BaseException) -> str:
    """Describe an exception in one line; one without a message by its type."""
    try:
        return _description(error)
    except Exception:
        return type(error).__name__


def _description(error: BaseException) -> str:
    if isinstance(error, CalveError):
        return error.what
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        return f"it called exit({code})"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
