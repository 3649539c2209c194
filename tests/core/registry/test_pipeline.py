"""Named steps: order, names of failing steps, events."""

from __future__ import annotations

from types import ModuleType

import pytest

from calve.api import ExportStepSpec, LazyRef, StageSpec
from calve.errors import ConfigError, DataError, ExportError, PluginError
from calve.registry.pipeline import run_steps


class Recorder:
    """Progress that remembers what it was told."""

    def __init__(self):
        self.calls = []

    def start(self, title, total=None):
        self.calls.append(title)

    def advance(self, amount=1, note=""):
        self.calls.append(amount)

    def finish(self):
        self.calls.append("finish")

    def abandon(self):
        self.calls.append("abandon")


@pytest.fixture
def steps(monkeypatch):
    """``steps(spec_class, **functions)``: specs that refer to the functions by name."""
    module = ModuleType("steps_of_calve_tests")
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)

    def make(spec_class, **functions):
        vars(module).update(functions)
        return [
            spec_class(name, f"do {name}", LazyRef(f"{module.__name__}:{name}"))
            for name in functions
        ]

    return make


def _raise(error):
    raise error


@pytest.mark.parametrize("spec_class", [StageSpec, ExportStepSpec])
def test_steps_run_in_order_with_the_same_arguments(steps, spec_class):
    seen = []
    specs = steps(
        spec_class,
        first=lambda *arguments: seen.append(("first", arguments)),
        second=lambda *arguments: seen.append(("second", arguments)),
    )
    reported = []
    results = run_steps(specs, "options", "progress", on_result=reported.append)
    assert reported == results
    assert seen == [("first", ("options", "progress")), ("second", ("options", "progress"))]
    assert [result.name for result in results] == ["first", "second"]
    assert all(result.seconds >= 0 for result in results)


def test_progress_shows_each_step_and_does_not_call_done_what_failed(steps):
    progress = Recorder()
    specs = steps(StageSpec, fine=lambda: None, bad=lambda: _raise(ValueError("x")))
    with pytest.raises(DataError):
        run_steps(specs, error=DataError, progress=progress)
    assert progress.calls == ["[1/2] fine: do fine", "finish", "[2/2] bad: do bad", "abandon"]


def test_a_failing_step_is_named_and_the_next_does_not_run(steps):
    ran = []
    cause = ZeroDivisionError("no frames")
    specs = steps(
        ExportStepSpec, trace=lambda: _raise(cause), convert=lambda: ran.append("convert")
    )
    with pytest.raises(ExportError) as caught:
        run_steps(specs, kind="export step", error=ExportError)
    assert caught.value.what == "export step 'trace' failed: ZeroDivisionError: no frames"
    assert caught.value.__cause__ is cause
    assert ran == []


def test_a_deliberate_error_keeps_its_class_place_and_fix(steps):
    cause = ConfigError("the segment is too short", where="--chunk", fix="give 9 or more")
    with pytest.raises(ConfigError) as caught:
        run_steps(steps(ExportStepSpec, pnnx=lambda: _raise(cause)), error=ExportError)
    assert caught.value.what == "step 'pnnx' failed: the segment is too short"
    assert (caught.value.where, caught.value.fix) == ("--chunk", "give 9 or more")


def test_ctrl_c_in_a_step_passes(steps):
    with pytest.raises(KeyboardInterrupt):
        run_steps(steps(StageSpec, long=lambda: _raise(KeyboardInterrupt())))


def test_every_step_is_resolved_before_the_first_one_runs(steps):
    ran = []
    specs = steps(StageSpec, long=lambda: ran.append("long"))
    specs.append(StageSpec("broken", "summary", LazyRef("no_such_module_for_calve:run")))
    with pytest.raises(PluginError, match="'broken' failed"):
        run_steps(specs)
    assert ran == []


def test_listeners_are_told_of_each_step_that_ended_well(run_python):
    script = (
        "from calve.api import LazyRef, StageSpec\n"
        "from calve.registry.pipeline import run_steps\n"
        "reports = {}\n"
        "steps = [StageSpec('fill', 's', LazyRef('builtins:dict.update')),\n"
        "         StageSpec('fail', 's', LazyRef('builtins:len'))]\n"
        "try:\n"
        "    run_steps(steps, reports, {'fill': {'files': 3}}, reports=reports)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    result = run_python("-c", script, fakes=("working",))
    assert result.stdout.splitlines() == ["finished fill: {'files': 3}", "CalveError"]
