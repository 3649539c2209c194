"""Text of unknown origin, made fit to be shown."""

from __future__ import annotations

import re

__all__ = ["printable"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of C0 and C1 but line ends and tabs; those that make text run backwards; and
lone surrogates."""


def printable(text: str) -> str:
    r"""Write control characters as escapes such as ``\x1b``; keep line ends and tabs.

    Names and transcripts may hold anything. Control characters steer a terminal and are not allowed
    in XML; the lone surrogates in file names that are not UTF-8 cannot be written to a file.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
