"""Running named steps in order: stages of preparation and steps of an export."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calve.common.progress import NO_PROGRESS, Progress, tracked
from calve.common.references import LazyRef
from calve.errors import CalveError
from calve.registry.catalog import registry
from calve.registry.discovery import describe

__all__ = ["Step", "StepResult", "run_steps"]


class Step(Protocol):
    """What `StageSpec` and `ExportStepSpec` have in common."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def run(self) -> LazyRef: ...


@dataclass(frozen=True)
class StepResult:
    """A step that ended well, the wall time that it took, and what it made."""

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
    """Call ``step.run.load()(*arguments)`` for each step, and stop at the first that fails.

    Every step is resolved before the first one runs, so that a missing package is known before
    an hour has gone by. After each step plugins are told through ``calve_stage_finished``.

    Args:
      steps: Stages of preparation or steps of an export, in order.
      arguments: What each step takes: ``(options, progress)`` or ``(workspace,)``.
      kind: What messages call a step: "stage", "export step".
      error: What an exception that is not a `CalveError` becomes.
      progress: Shows which step is running.
      reports: Mapping that steps may fill under their own names, instead of returning a mapping;
        either is handed on with the event.
      on_result: Called after each step.

    Raises:
      CalveError: if a step failed; names the step, its cause is the original exception. A
        `CalveError` of a step keeps its class, place and fix.
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
    """Call ``function``; whatever it raises names the step."""
    try:
        return function(*arguments)
    except CalveError as cause:
        what = f"{kind} {name!r} failed: {cause.what}"
        raise type(cause)(what, where=cause.where, fix=cause.fix) from cause
    except Exception as cause:
        raise error(f"{kind} {name!r} failed: {describe(cause)}") from cause
