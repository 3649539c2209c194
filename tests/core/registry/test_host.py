"""Hooks are called plugin by plugin, each under a guard."""

from __future__ import annotations

from types import ModuleType

import pytest
from hook_examples import example_plugin

from calve import api
from calve.registry import hookspecs
from calve.registry.discovery import Discovery
from calve.registry.host import REGISTRATION_HOOKS, Host
from calve.registry.plugin_sources import PluginSource

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("calve_"))
EVENTS = {
    "calve_stage_finished": {"stage": "s", "seconds": 2.0, "report": {"a": 1}},
    "calve_train_metrics": {"step": 1, "metrics": {"loss": 1.0}},
}


def _source(name):
    return PluginSource(name, f"{name}.plugin", f"{name}-dist", "1.0")


def _module(name, **functions):
    module = ModuleType(name)
    for hook, function in functions.items():
        function.__name__ = hook
        setattr(module, hook, api.hookimpl(function))
    return module


def _host(**modules):
    return Host(Discovery({_source(name): m for name, m in modules.items()}, (), ()))


def _search(name):
    return api.DecodingMethodSpec(name, api.LazyRef("a:b"), api.LazyRef("a:b"), "summary")


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_runs_and_registers(hook):
    """The example in the docstring, executed and registered as a plugin's own text would be."""
    host = _registered_by_the_example(hook)
    assert host.problems == []
    assert host.hooks_of(_source("example")) == (hook,)
    if hook in REGISTRATION_HOOKS:
        (registered,) = host.collect(hook)
        assert registered[0] == _source("example")
        assert isinstance(registered[1], REGISTRATION_HOOKS[hook])
    else:
        assert host.notify(hook, **EVENTS[hook]) == []
    assert host.problems == []


def test_every_hook_is_a_registration_or_an_event():
    assert sorted({*REGISTRATION_HOOKS, *EVENTS}) == HOOKS
    assert all(hook.startswith("calve_register_") for hook in REGISTRATION_HOOKS)


def test_a_generator_that_fails_halfway_registers_nothing():
    def broken():
        yield _search("half")
        raise ZeroDivisionError("half way")

    host = _host(
        bad=_module("bad", calve_register_decoders=broken),
        good=_module("good", calve_register_decoders=lambda: [_search("whole")]),
    )
    assert [spec.name for _, spec in host.collect("calve_register_decoders")] == ["whole"]
    (problem,) = host.problems
    assert (problem.source, problem.stage) == (_source("bad"), "calve_register_decoders")
    assert "ZeroDivisionError: half way" in problem.line
    assert isinstance(problem.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "result", [5, "text", [None], [_search("x"), "x"], _search("bare"), {"a": 1}]
)
def test_a_wrong_return_type_is_a_problem_that_names_the_hook(result):
    host = _host(bad=_module("bad", calve_register_decoders=lambda: result))
    assert list(host.collect("calve_register_decoders")) == []
    (problem,) = host.problems
    assert "calve_register_decoders must return or yield DecodingMethodSpecs" in problem.cause


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
def test_ctrl_c_in_a_hook_passes(hook):
    host = _host(bad=_module("bad", **{hook: lambda: _raise(KeyboardInterrupt())}))
    with pytest.raises(KeyboardInterrupt):
        list(host.collect(hook))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("no network"), "OSError: no network"),
        (AssertionError("no card"), "AssertionError: no card"),
        (SystemExit(4), "it called exit(4)"),
    ],
)
def test_one_failing_listener_does_not_keep_an_event_from_the_others(event, error, cause):
    heard = []
    host = _host(
        deaf=_module("deaf", **{event: lambda: _raise(error)}),
        keen=_module("keen", **{event: lambda: heard.append(event)}),
    )
    (problem,) = host.notify(event, **EVENTS[event])
    assert (problem.source, problem.stage, problem.cause) == (_source("deaf"), event, cause)
    assert heard == [event]


def test_listeners_are_told_what_the_events_say():
    heard = []

    def stage_listener(stage, seconds, report):
        heard.append({"stage": stage, "seconds": seconds, "report": report})

    def metrics_listener(step, metrics):
        heard.append({"step": step, "metrics": metrics})

    keen = _module(
        "keen", calve_stage_finished=stage_listener, calve_train_metrics=metrics_listener
    )
    host = _host(keen=keen)
    for event, values in EVENTS.items():
        assert host.notify(event, **values) == []
    assert heard == list(EVENTS.values())


@pytest.mark.parametrize("event", EVENTS)
def test_a_listener_for_something_that_the_event_does_not_say_is_no_plugin(event):
    host = _host(odd=_module("odd", **{event: lambda weather: None}))
    (problem,) = host.problems
    assert (problem.source, problem.stage) == (_source("odd"), "register")
    assert "weather" in problem.cause
    assert host.notify(event, **EVENTS[event]) == []


@pytest.mark.parametrize("event", EVENTS)
def test_ctrl_c_in_a_listener_passes(event):
    host = _host(bad=_module("bad", **{event: lambda: _raise(KeyboardInterrupt())}))
    with pytest.raises(KeyboardInterrupt):
        host.notify(event, **EVENTS[event])


@pytest.mark.parametrize("thing", [[], {}, 7, object()])
def test_an_entry_point_that_names_no_module_disturbs_nobody(thing):
    good = _module("good", calve_register_decoders=lambda: [_search("fine")])
    host = _host(odd=thing, good=good)
    assert [spec.name for _, spec in host.collect("calve_register_decoders")] == ["fine"]


def test_one_module_under_two_names_is_a_problem_of_the_second():
    module = _module("m", calve_register_decoders=lambda: [_search("once")])
    host = _host(first=module, second=module)
    assert [spec.name for _, spec in host.collect("calve_register_decoders")] == ["once"]
    (problem,) = host.problems
    assert (problem.source, problem.stage) == (_source("second"), "register")


def _raise(error):
    raise error


def _halfway():
    yield from ()
    raise ZeroDivisionError("half way")


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (lambda: _raise(OSError("no license")), "OSError: no license"),
        (lambda: _raise(AssertionError("no card")), "AssertionError: no card"),
        (lambda: _raise(SystemExit(4)), "it called exit(4)"),
        (_halfway, "ZeroDivisionError: half way"),
        (lambda: 5, "must return or yield"),
        (lambda: [object()], "found object"),
        (lambda: {"name": "x"}, "found str"),
        (lambda needed=None: needed + 1, "TypeError"),
    ],
)
def test_every_hook_kind_survives_every_failure(hook, broken, cause):
    (_, example), *_ = _registered_by_the_example(hook).collect(hook)
    host = _host(
        bad=_module("bad", **{hook: broken}), good=_module("good", **{hook: lambda: [example]})
    )
    assert list(host.collect(hook)) == [(_source("good"), example)]
    (problem,) = host.problems
    assert (problem.source, problem.stage) == (_source("bad"), hook)
    assert cause in problem.cause


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
def test_a_hook_that_returns_nothing_registers_nothing_and_is_no_problem(hook):
    host = _host(idle=_module("idle", **{hook: lambda: None}))
    assert list(host.collect(hook)) == []
    assert host.problems == []


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
def test_what_another_kind_of_hook_returns_is_refused(hook):
    others = [other for other in REGISTRATION_HOOKS if other != hook]
    wrong = [
        spec for other in others for _, spec in _registered_by_the_example(other).collect(other)
    ]
    assert len(wrong) == len(others)
    for spec in wrong:
        host = _host(bad=_module("bad", **{hook: lambda spec=spec: [spec]}))
        assert list(host.collect(hook)) == []
        assert f"found {type(spec).__name__}" in host.problems[0].cause


def _registered_by_the_example(hook):
    return _host(example=example_plugin(hook))
