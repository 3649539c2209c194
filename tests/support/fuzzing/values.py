"""Hostile values: the numbers, texts and JSON values that a file from elsewhere may hold."""

from __future__ import annotations

from random import Random
from typing import Any

__all__ = ["CANARY", "hostile_number", "hostile_text", "hostile_value"]

CANARY = "canary"
"""Nothing that calve reads may create a file of this name, in whatever way it asks for it."""

_NUMBERS: tuple[int | float, ...] = (
    *(0, 1, -1, 2, 3, 7, 16, 100, 255, 256, -2, -128, 1000, 4096, 65535, 65536, 1_000_000),
    *(2**31 - 1, 2**31, -(2**31), 2**32, 10**9, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64),
    *(10**18, 10**40, -0.0, 0.5, -0.5, 1.5, 1e-300, 1e30, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)

_TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\x00",
        "a\x00b",
        ".",
        "..",
        "/",
        "-",
        "--help",
        "#",
        "x" * 5000,
    ),
    *("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x7f\x08", "\u202etxt.exe", "\ufeff"),
    *(
        "cafe\u0301",
        "café",
        "\u0130",
        "ß",
        "👩‍👩‍👧",
        "\ud800",
        "<script>alert(1)</script>",
        "&amp;",
    ),
    *("$x$", "$\\frac$", "%s%n", "{}", "{0.__class__}", "None", "nan", "inf", "-1", "1e400"),
    *(f"../{CANARY}", f"../../../{CANARY}", f"./{CANARY}", f"$(touch {CANARY})"),
    *(f"`touch {CANARY}`", f"|touch {CANARY}", f"pipe:touch {CANARY}", f"; touch {CANARY}"),
    *("/dev/zero", "/dev/stdin", "/dev/full", "/etc/passwd", "/proc/self/environ"),
    *("file:///etc/passwd", "http://127.0.0.1:9/x", "s3://bucket/x", "C:\\x", "con", "~", "~root"),
    *("../secret.txt", "secret.txt", "__class__", "os.system", "<blk>", "<unk>", "<0xE7>", "▁"),
)


def hostile_number(rng: Random) -> int | float:
    """A number at or beyond the edge of what some type or some machine can hold."""
    return rng.choice(_NUMBERS)


def hostile_text(rng: Random) -> str:
    """A text that means something else to a shell, a path, a terminal, a page or a format."""
    return rng.choice(_TEXTS)


def hostile_value(rng: Random, before: Any = None) -> Any:
    """A JSON value to stand where ``before`` stood; often one of the same type."""
    if rng.random() < 0.6:
        if isinstance(before, (int, float)) and not isinstance(before, bool):
            return hostile_number(rng)
        if isinstance(before, str):
            return hostile_text(rng)
    others: tuple[Any, ...] = (None, True, False, [], {}, [None], [[]], {"a": 1}, [1, 2, 3])
    return rng.choice(
        (*others, hostile_number(rng), hostile_text(rng), [hostile_number(rng)], [before, before])
    )
