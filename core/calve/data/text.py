"""Unicode normalization of texts and names that are compared."""

from __future__ import annotations

import unicodedata

__all__ = ["normalized"]


def normalized(text: str) -> str:
    """Return a text in Unicode's normal form C, in which equal texts have equal code points.

    macOS writes file names in form D ("e" and a combining accent); many corpora of Vietnamese and
    Korean are in form D as well. Source: Unicode Standard Annex #15.
    """
    return unicodedata.normalize("NFC", text)
