"""Specs by name: unknown names, contested names, and what a broken plugin may have provided."""

from __future__ import annotations

from types import ModuleType

import pytest
from hook_examples import example_plugin

from calve import api
from calve.errors import PluginError
from calve.registry.catalog import Registry
from calve.registry.discovery import Discovery
from calve.registry.host import REGISTRATION_HOOKS, Host
from calve.registry.plugin_sources import PluginSource, Problem

HERE = api.LazyRef("os:getcwd")


def _source(name, distribution="acme"):
    return PluginSource(name, name, distribution, "1.0", is_builtin=distribution == "calve")


def _module(hook, specs):
    module = ModuleType("plugin")

    def register():
        return specs

    register.__name__ = hook
    setattr(module, hook, api.hookimpl(register))
    return module


def _registry(hook, specs_of, problems=()):
    modules = {source: _module(hook, specs) for source, specs in specs_of.items()}
    return Registry(Host(Discovery(modules, (), tuple(problems))))


def _searches(*names):
    return [api.DecodingMethodSpec(name, HERE, HERE, "summary") for name in names]


def _registry_of_searches(names_of, problems=()):
    specs_of = {source: _searches(*names) for source, names in names_of.items()}
    return _registry("calve_register_decoders", specs_of, problems)


ONE, TWO, OWN = _source("one"), _source("two", "bcme"), _source("own", "calve")


def test_names_come_built_in_first():
    searches = _registry_of_searches({ONE: ["a"], OWN: ["b", "c"]}).decoding_methods
    assert searches.names() == ["b", "c", "a"]
    assert [spec.name for spec in searches] == ["b", "c", "a"]
    assert searches.source("a") == ONE
    assert "a" in searches
    assert len(searches) == 3


def test_an_unknown_name_is_an_error_with_a_suggestion():
    searches = _registry_of_searches({ONE: ["greedy_search"]}).decoding_methods
    with pytest.raises(PluginError, match=r"no decoding method 'gredy_search'") as caught:
        searches.get("gredy_search")
    assert caught.value.fix == "did you mean 'greedy_search'?"


def test_an_unknown_name_that_resembles_none_lists_what_there_is():
    with pytest.raises(PluginError) as caught:
        _registry_of_searches({ONE: ["greedy_search", "beam"]}).decoding_methods.get("xyz")
    assert caught.value.fix == "registered: greedy_search, beam"


def test_a_missing_name_tells_of_the_broken_plugin_and_its_original_cause():
    cause = ImportError("no k2 here")
    problem = Problem(_source("k2"), "load", "ImportError: no k2 here", cause)
    registry = _registry_of_searches({ONE: ["greedy_search"]}, [problem])
    with pytest.raises(PluginError) as caught:
        registry.decoding_methods.get("fast_beam_search")
    assert "no k2 here" in caught.value.where
    assert caught.value.__cause__ is cause


def test_a_contested_name_belongs_to_nobody():
    registry = _registry_of_searches({OWN: ["x", "mine"], ONE: ["x"], TWO: ["x", "theirs"]})
    with pytest.raises(PluginError, match="registered more than once") as caught:
        registry.decoding_methods.get("x")
    for source in (OWN, ONE, TWO):
        assert str(source) in caught.value.where
    assert registry.decoding_methods.names() == ["mine", "theirs"]
    assert registry.decoding_methods.conflicts() == {"x": [OWN, ONE, TWO]}
    (problem,) = registry.problems
    assert problem.stage == "conflict"


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
def test_a_contested_name_of_any_kind_belongs_to_nobody(hook):
    modules = {source: example_plugin(hook) for source in (ONE, TWO)}
    registry = Registry(Host(Discovery(modules, (), ())))
    (table,) = [table for table in registry.tables if table.conflicts()]
    ((name, claimants),) = table.conflicts().items()
    assert claimants == [ONE, TWO]
    with pytest.raises(PluginError, match="registered more than once"):
        table.get(name)
    (problem,) = registry.problems
    assert (problem.source, problem.stage) == (TWO, "conflict")


def test_one_plugin_that_says_a_name_twice_is_in_conflict_with_itself():
    registry = _registry_of_searches({ONE: ["x", "x"]})
    assert registry.decoding_methods.conflicts() == {"x": [ONE, ONE]}
    assert len(registry.problem_lines()) == 1


def test_many_problems_of_one_plugin_cost_one_line():
    problems = [Problem(ONE, "load", f"cause {number}") for number in range(3)]
    (line,) = _registry_of_searches({}, problems).problem_lines()
    assert "cause 0" in line
    assert line.endswith("(and 2 more)")


def test_metadata_writers_are_known_by_encoder_and_format():
    writers = [api.MetadataWriterSpec("lstm", f, HERE, "s") for f in ("ncnn", "onnx")]
    table = _registry("calve_register_metadata_writers", {ONE: writers}).metadata_writers
    assert table.get(("lstm", "onnx")) is writers[1]
    with pytest.raises(PluginError, match="no metadata writer 'lstm for nccn'") as caught:
        table.get(("lstm", "nccn"))
    assert caught.value.fix == "did you mean 'lstm for ncnn' or 'lstm for onnx'?"


def test_quantizers_are_known_by_format_and_scheme():
    spec = api.QuantizerSpec("ncnn", "int8", HERE, True, "s")
    table = _registry("calve_register_quantizers", {ONE: [spec]}).quantizers
    assert table.get(("ncnn", "int8")) is spec


def test_a_command_of_calves_own_cannot_be_taken():
    commands = [api.CommandSpec(name, HERE, "s") for name in ("export", "hello")]
    registry = _registry("calve_register_commands", {ONE: commands})
    assert registry.commands.names() == ["hello"]
    (problem,) = registry.problems
    assert "'export' is calve's own" in problem.cause


def test_a_failing_listener_costs_one_line(capsys):
    module = ModuleType("plugin")

    def calve_stage_finished(stage):
        raise OSError("no network")

    module.calve_stage_finished = api.hookimpl(calve_stage_finished)
    registry = Registry(Host(Discovery({ONE: module}, (), ())))
    registry.notify("calve_stage_finished", stage="s", seconds=1.0, report={})
    (line,) = capsys.readouterr().err.splitlines()
    assert "no network" in line
    assert "plugin 'one' of acme 1.0" in line
