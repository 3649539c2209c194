"""docs/hooks.md names every hook, field and argument, and its examples run."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from calve import api, protocols
from calve.registry import hookspecs, specs
from calve.registry.discovery import Discovery, load_driver
from calve.registry.host import REGISTRATION_HOOKS, Host
from calve.registry.plugin_sources import PluginSource
from calve_graphs.graph import FINAL_LABEL, trivial_graph

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("calve_")]
EVENTS = [hook for hook in HOOKS if hook not in REGISTRATION_HOOKS]
# What hooks return, and what stands inside; the rest of a spec is written with the other two.
SPECS = [
    name
    for name in specs.__all__
    if name not in ("LazyRef", "Resource") and dataclasses.is_dataclass(getattr(specs, name))
]
SOURCE = PluginSource("example", "example", "example", "1.0")


def sections(level):
    """Text under each heading of a level, by the name in the heading."""
    found = re.split(rf"^{'#' * level} `(\w+)`$", PAGE, flags=re.MULTILINE)
    texts = (re.split(rf"^#{{1,{level}}} ", text, flags=re.MULTILINE)[0] for text in found[2::2])
    return dict(zip(found[1::2], texts, strict=True))


def rows(text):
    """Cells of a section's table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_hook_has_a_section_in_the_order_of_hookspecs():
    assert list(sections(2)) == HOOKS


def test_every_spec_has_a_section():
    assert sorted(sections(3)) == sorted(SPECS)


@pytest.mark.parametrize("hook", REGISTRATION_HOOKS)
def test_the_section_of_a_hook_describes_the_spec_that_it_returns(hook):
    assert f"### `{REGISTRATION_HOOKS[hook].__name__}`" in sections(2)[hook]


@pytest.mark.parametrize("name", SPECS)
def test_every_field_is_there_with_whether_it_is_required(name):
    fields = [
        (f"`{field.name}`", "" if _has_default(field) else "yes")
        for field in dataclasses.fields(getattr(specs, name))
    ]
    table = rows(sections(3)[name])
    assert [(row[0], row[2]) for row in table] == fields
    assert all(row[3] for row in table)


@pytest.mark.parametrize("event", EVENTS)
def test_every_argument_of_an_event_is_there_with_its_type(event):
    parameters = inspect.signature(getattr(hookspecs, event)).parameters
    table = rows(sections(2)[event])
    assert [row[:2] for row in table] == [
        [f"`{name}`", f"`{parameter.annotation}`"] for name, parameter in parameters.items()
    ]
    assert all(row[2] for row in table)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_every_hook_runs_with_what_the_page_says_to_import(hook):
    prelude, *_ = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (example,) = re.findall(r"```python\n(.*?)```", sections(2)[hook], flags=re.DOTALL)
    module = ModuleType("example")
    exec(prelude + example, vars(module))
    host = Host(Discovery({SOURCE: module}, (), ()))
    assert host.hooks_of(SOURCE) == (hook,)
    if hook in REGISTRATION_HOOKS:
        ((_, spec),) = host.collect(hook)
        assert isinstance(spec, REGISTRATION_HOOKS[hook])
    else:
        values = {"stage": "s", "seconds": 1.0, "report": {}, "step": 1, "metrics": {"loss": 1.0}}
        parameters = inspect.signature(getattr(hookspecs, hook)).parameters
        host.notify(hook, **{name: values[name] for name in parameters})
    assert host.problems == []


def test_everything_that_the_page_says_to_import_is_public():
    assert {*SPECS, "LazyRef", "Resource", "hookimpl"} <= {*api.__all__}


def _has_default(field):
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


@pytest.mark.parametrize("protocol", [protocols.FsaBackend, protocols.FsaWalk])
def test_every_method_of_an_fsa_backend_is_there(protocol):
    (table,) = re.findall(rf"^\| `{protocol.__name__}` \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    methods = [f"`{name}`" for name in vars(protocol) if not name.startswith("_")]
    assert [row[0] for row in rows(table)] == methods


def test_the_example_of_an_fsa_backend_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.split("\n## Drivers\n")[1], re.DOTALL)
    graph = trivial_graph(500)
    names = {
        "np": np,
        "MyWalker": load_driver("calve.fsa_backends", "calve"),
        "log_probs_of": lambda _, owners, __: np.zeros((len(owners), 500), np.float32),
        **{name: getattr(graph, name) for name in ("arc_splits", "destination", "label", "score")},
    }
    exec(example, names)
    assert names["num_states"] > 10
    assert graph.label[names["graph_arc"][-1]] == FINAL_LABEL


def test_the_examples_of_inspect_and_doctor_run(tmp_path):
    (example,) = re.findall(
        r"```python\n(.*?)```", PAGE.split("## The functions `inspect` and `doctor`")[1], re.DOTALL
    )[:1]
    names = {}
    exec(example, names)
    mine, other = tmp_path / "a.my_format", tmp_path / "a.txt"
    for file in (mine, other):
        file.write_text("one\ntwo\n")
    assert names["inspect"](mine) == {"kind": "my network", "layers": 2}
    assert names["inspect"](other) is None
    assert [one.outcome for one in names["doctor"]()] == ["ok"]
