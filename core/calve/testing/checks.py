"""Checks for all kinds of plugins."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from calve.common.config import fields_help, resolve
from calve.common.references import LazyRef
from calve.registry.catalog import SpecTable
from calve.registry.pipeline import Step

__all__ = [
    "HEAVY",
    "check_close",
    "check_help",
    "check_light_import",
    "check_options",
    "check_registered_once",
    "check_round_trip",
    "check_steps",
    "fail",
    "names_of",
    "require",
]

HEAVY = (
    *("torch", "numba", "lhotse", "k2", "onnx", "onnxruntime", "tensorboard"),
    *("ncnn", "pnnx", "sherpa_ncnn", "sherpa_onnx"),
)
"""Packages that take long to import; ``calve --help`` must not wait for them."""

_TIME_LIMIT = 60.0


def fail(message: str) -> NoReturn:
    """Fail: the plugin breaks a promise."""
    raise AssertionError(message)


def require(condition: bool, message: str) -> None:
    """Check a promise; pytest does not rewrite the asserts of this package."""
    if not condition:
        fail(message)


def check_registered_once(table: SpecTable[Any, Any], name: Any) -> None:
    """Check that exactly one plugin registers ``name``."""
    claimants = " and ".join(map(str, table.conflicts().get(name, ())))
    require(not claimants, f"{table.kind} {name!r} is registered more than once: {claimants}")
    require(name in table, f"no plugin registers the {table.kind} {name!r}: is it installed?")


def check_light_import(*references: LazyRef | str) -> None:
    """Check, in a new process, that importing modules imports no package of `HEAVY`.

    Args:
      *references: Modules, or references into modules, that start-up or ``--help`` imports.
    """
    modules = dict.fromkeys(
        one.target.partition(":")[0] if isinstance(one, LazyRef) else one for one in references
    )
    for module in modules:
        script = (
            f"import sys, {module}\n"
            f"print('imported:', *(name for name in {HEAVY!r} if name in sys.modules))"
        )
        child = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT,
        )
        require(child.returncode == 0, f"import {module} fails:\n{child.stderr}")
        imported = child.stdout.splitlines()[-1].removeprefix("imported:").split()
        require(
            not imported,
            f"import {module} imports {', '.join(imported)}, and every command would wait for "
            "that: import it inside the functions that need it, or in another module",
        )


def check_help(cls: type) -> None:
    """Check that the fields of a dataclass have help texts for ``--help``."""
    require(dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass")
    for field in fields_help(cls):
        require(
            bool(field.help.strip()),
            f"{cls.__name__}.{field.name} has no help: add metadata={{'help': ...}}",
        )


def check_options(cls: type) -> None:
    """Check that a dataclass works as command-line options, with defaults for all."""
    check_help(cls)
    for field in fields_help(cls):
        require(
            not field.required,
            f"{cls.__name__}.{field.name} has no default: an option of the command line needs one",
        )
    check_round_trip(resolve(cls))


def check_round_trip(config: Any) -> None:
    """Check that a configuration survives writing to JSON and reading."""
    written = json.loads(json.dumps(dataclasses.asdict(config), default=os.fspath))
    again = resolve(type(config), written)
    require(
        again == config,
        f"{type(config).__name__} is not the same after it was written as JSON and read again: "
        f"{again} instead of {config}",
    )


def check_steps(kind: str, steps: Sequence[Step]) -> None:
    """Check that steps have unique names and summaries and can be called."""
    require(bool(steps), f"it has no {kind}, so it does nothing")
    names = [step.name for step in steps]
    repeated = {name for name in names if names.count(name) > 1 or not name.strip()}
    require(
        not repeated,
        f"its {kind} are called {', '.join(map(repr, names))}: an error could not say which failed",
    )
    silent = [step.name for step in steps if not step.summary.strip()]
    require(not silent, f"the {kind} {names_of(silent)} have no summary")
    for step in steps:
        require(callable(step.run.load()), f"{step.run.target} cannot be called")


def check_close(actual: Any, expected: Any, what: str, *, tolerance: float) -> None:
    """Check that two arrays or tensors have equal shapes and nearly equal values.

    Args:
      actual: Result of the plugin.
      expected: Expected result.
      what: Name of the result, for the message.
      tolerance: Largest difference, relative to the largest expected number if that is above 1.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        fail(f"{what}: the shape is {actual.shape}, not {expected.shape}")
    error = float(np.abs(actual - expected).max())
    allowed = tolerance * max(1.0, float(np.abs(expected).max()))
    # NaN, which no comparison is true of, is refused too.
    require(error <= allowed, f"{what}: off by {error:.1e}, {allowed:.1e} is allowed")


def names_of(names: Iterable[str]) -> str:
    """Names in a message."""
    return ", ".join(sorted(names)) or "none"
