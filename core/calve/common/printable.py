"""Text of unknown origin, prepared for output."""

from __future__ import annotations

import json
import math
import re
from os import fspath
from typing import Any

__all__ = ["json_text", "one_line", "printable", "shortened", "size_text"]

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters of C0 and C1 but line ends and tabs; those that make text run backwards; lone
surrogates; and the two that XML does not allow."""

_LONGEST_TEXT = 40

_LINE_ENDS = re.compile("[\n\t\u2028\u2029]")


def printable(text: str) -> str:
    r"""Write control characters as escapes such as ``\x1b``; keep line ends and tabs.

    Names and transcripts may hold anything. Control characters steer a terminal and are not allowed
    in XML; the lone surrogates in file names that are not UTF-8 cannot be written to a file.
    """
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    r"""As `printable`, with line ends and tabs as ``\n`` and ``\t``: for names in lists and tables.

    Of the other line ends, U+2028 and U+2029 are escaped too.
    """
    return _LINE_ENDS.sub(_escape, printable(text))


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    r"""JSON as text that can be written as UTF-8 and shown on a terminal.

    Control characters and the lone surrogates in file names that are not UTF-8 become JSON's own
    escapes: readers get the value unchanged, and `os.fsencode` gives the bytes of the name.

    Args:
      value: Values of JSON, and paths.
      indent: Columns of indentation; None for one line.
      ascii_only: Whether to escape all letters beyond ASCII.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=fspath)
    # json.dumps escapes the control characters of ASCII; \uXXXX is an escape of JSON too.
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def shortened(value: object, most: int = _LONGEST_TEXT) -> str:
    """Return ``repr(value)``, cut after ``most`` characters.

    Digits beyond Python's limit are not written.
    """
    try:
        text = repr(value)
    except ValueError:  # an integer with thousands of digits
        return "a number with thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def size_text(size: int) -> str:
    """Format a number of bytes like ``ls -lh``: in powers of 1024, rounded up."""
    if size < 1024:
        return f"{size} B"
    power = min(int(math.log2(size)) // 10, 3)
    unit = ("KB", "MB", "GB")[power - 1]
    tenths = math.ceil(size / 1024**power * 10)
    return f"{tenths / 10:.1f} {unit}" if tenths < 100 else f"{math.ceil(tenths / 10)} {unit}"
