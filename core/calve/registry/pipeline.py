"""Runs named steps in order: stages of preparation and steps of an export."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calve.common.exceptions import describe
from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.common.references import LazyRef
from calve.errors import CalveError
from calve.registry.catalog import registry

__all__ = ["Step", "StepResult", "run_steps"]


class Step(Protocol):
    """Common interface of `StageSpec` and `ExportStepSpec`."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def run(self) -> LazyRef: ...


@dataclass(frozen=True)
class StepResult:
    """A successful step: its wall time and its report."""

    name: str
    seconds: float
    report: Mapping[str, Any]


def run_steps(
    steps: Sequence[Step],
    *arguments: Any,
    kind: str = "step",
    error: type[CalveError] = CalveError,
    progress: Progress = NO_PROGRESS,
    reports: Mapping[str, Any] | None = None,
    on_result: Callable[[StepResult], object] | None = None,
) -> list[StepResult]:
    """Call ``step.run.load()(*arguments)`` for each step; stop at the first failure.

    All steps are imported before the first one runs, so that a missing package is reported at once.
    After each step, ``calve_stage_finished`` informs the plugins.

    Args:
      steps: Stages of preparation or steps of an export, in order.
      arguments: Arguments of each step: ``(options, progress)`` or ``(workspace,)``.
      kind: The word for a step in messages: "stage", "export step".
      error: The class that other exceptions than `CalveError` become.
      progress: Shows the running step.
      reports: Mapping that steps may fill under their own names instead of returning a mapping;
        the event passes on either.
      on_result: Called after each step.

    Raises:
      CalveError: if a step failed; the message names the step, and ``__cause__`` is the original
        exception. A `CalveError` of a step keeps its class, place and fix.
    """
    results: list[StepResult] = []
    functions = [_named(kind, step.name, error, step.run.load) for step in steps]
    for number, (step, function) in enumerate(zip(steps, functions, strict=True), start=1):
        started = time.perf_counter()
        with tracked(progress, f"[{number}/{len(steps)}] {step.name}: {step.summary}"):
            returned = _named(kind, step.name, error, function, *arguments)
        seconds = time.perf_counter() - started
        report = returned if isinstance(returned, Mapping) else (reports or {}).get(step.name, {})
        results.append(StepResult(step.name, seconds, report))
        if on_result is not None:
            on_result(results[-1])
        registry().notify("calve_stage_finished", stage=step.name, seconds=seconds, report=report)
    return results


def _named(kind: str, name: str, error: type[CalveError], function: Any, *arguments: Any) -> Any:
    """Call ``function``; add the name of the step to its exceptions."""
    try:
        return function(*arguments)
    except CalveError as cause:
        what = f"{kind} {name!r} failed: {cause.what}"
        raise type(cause)(what, where=cause.where, fix=cause.fix) from cause
    except Exception as cause:
        raise error(f"{kind} {name!r} failed: {describe(cause)}") from cause
