"""Mutations of nested values: JSON documents, JSON lines, and what is written as TOML."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

from fuzzing.values import hostile_text, hostile_value

__all__ = ["as_json", "as_toml", "edit_tree", "nested"]

_Place = tuple[Any, Any]
"""A container and the key or the index of one of its values."""


def edit_tree(rng: Random, tree: Any) -> tuple[Any, str]:
    """The tree with one to three edits, and a description of them."""
    said = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return hostile_value(rng), "; ".join([*said, "another value at the root"])
        container, key = rng.choice(places)
        said.append(rng.choice(_EDITS)(rng, container, key))
    return tree, "; ".join(said)


def nested(rng: Random) -> str:
    """JSON text that is nested deeper than any reader's stack."""
    depth = rng.choice((1000, 10_000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    return opening * depth + "1" + closing * depth


def as_json(tree: Any) -> str:
    """JSON as a hostile writer makes it: lone surrogates escaped, NaN and Infinity written."""
    return json.dumps(tree, ensure_ascii=True)


def as_toml(tree: Any) -> str:
    """Tables of two levels as TOML; a value that TOML lacks becomes a text."""
    lines = []
    for name, table in tree.items() if isinstance(tree, dict) else [("model", tree)]:
        if isinstance(table, dict):
            lines += [
                f"[{_toml(str(name))}]",
                *(f"{_toml(str(k))} = {_toml(v)}" for k, v in table.items()),
            ]
        else:
            lines.insert(0, f"{_toml(str(name))} = {_toml(table)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    text = str(value).encode("utf-8", "replace").decode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _places(tree: Any) -> list[_Place]:
    if isinstance(tree, dict):
        here: list[_Place] = [(tree, key) for key in tree]
    elif isinstance(tree, list):
        here = [(tree, index) for index in range(len(tree))]
    else:
        return []
    return here + [place for container, key in here for place in _places(container[key])]


def _replace(rng: Random, container: Any, key: Any) -> str:
    container[key] = hostile_value(rng, container[key])
    return f"{key} = {str(container[key])[:40]!r}"


def _remove(rng: Random, container: Any, key: Any) -> str:
    del container[key]
    return f"{key} removed"


def _rename(rng: Random, container: Any, key: Any) -> str:
    if not isinstance(container, dict):
        return _replace(rng, container, key)
    name = hostile_text(rng)
    container[name] = container.pop(key)
    return f"{key} renamed to {name[:40]!r}"


def _repeat(rng: Random, container: Any, key: Any) -> str:
    if not isinstance(container, list):
        return _replace(rng, container, key)
    count = rng.choice((1, 2, 1000))
    container.extend([container[key]] * count)
    return f"item {key} repeated {count} times"


def _swap(rng: Random, container: Any, key: Any) -> str:
    other = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[key], container[other] = container[other], container[key]
    return f"{key} and {other} swapped"


def _wrap(rng: Random, container: Any, key: Any) -> str:
    container[key] = rng.choice(([container[key]], {"value": container[key]}))
    return f"{key} wrapped"


_EDITS: tuple[Callable[[Random, Any, Any], str], ...] = (
    *(_replace, _replace, _replace, _replace),
    *(_remove, _rename, _repeat, _swap, _wrap),
)
