"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a question with the known words closest to ``word``; None if none is close."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not near:
        return None
    return f"did you mean {' or '.join(repr(name) for name in near)}?"
