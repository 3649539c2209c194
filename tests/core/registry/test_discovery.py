"""Entry points are found and loaded, and stevedore's traps are closed."""

from __future__ import annotations

import json
import os

import pytest


def _load(run_python, name, **settings):
    script = (
        "import sys, json\n"
        "from calve.registry.discovery import load_driver\n"
        "from calve.errors import PluginError\n"
        "try:\n"
        f"    answer = load_driver('calve.runtimes', {name!r}).__name__\n"
        "except PluginError as error:\n"
        "    answer = [str(error), type(error.__cause__).__name__]\n"
        "print(json.dumps([answer, 'acme_drivers' in sys.modules]))"
    )
    answer, imported = json.loads(run_python("-c", script, **settings).stdout)
    return answer, imported


def test_a_driver_is_found_by_name(run_python):
    assert _load(run_python, "acme", fakes=("drivers",)) == ("AcmeRuntime", True)


def test_an_unknown_driver_is_an_error_with_a_suggestion(run_python):
    (message, _), imported = _load(run_python, "acne", fakes=("drivers",))
    assert "did you mean 'acme'" in message
    assert not imported


@pytest.mark.parametrize(
    ("name", "cause", "words"),
    [
        ("exiting", "SystemExit", "no license"),
        ("asserting", "AssertionError", "no device"),
        ("needy", "ModuleNotFoundError", "install no_such_module_for_calve"),
        ("absent", "AttributeError", "NoSuchRuntime"),
    ],
)
def test_a_driver_that_cannot_be_loaded_keeps_its_cause(run_python, name, cause, words):
    (message, raised), _ = _load(run_python, name, fakes=("drivers",))
    assert words in message
    assert "acme-drivers 1.0" in message
    assert raised == cause


def test_a_driver_of_two_distributions_is_an_error_naming_both(run_python):
    (message, _), imported = _load(run_python, "ncnn", fakes=("drivers",))
    assert "acme-drivers 1.0" in message
    assert "calve " in message
    assert not imported


def test_a_reinstallation_in_place_is_seen_at_once(run_calve, tmp_path):
    """stevedore's disk cache would answer from before: paths and times are the same."""
    info = tmp_path / "moving-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: moving\nVersion: 1\n")
    (tmp_path / "moving_module.py").write_text("")
    entry_points = info / "entry_points.txt"

    def installed_names(name):
        entry_points.write_text(f"[calve.plugins]\n{name} = moving_module\n")
        for path in (entry_points, info, tmp_path):
            os.utime(path, (1_700_000_000, 1_700_000_000))
        environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        result = run_calve("plugins", "list", "--json", path=(tmp_path,), env=environment)
        return {plugin["name"] for plugin in json.loads(result.stdout)}

    assert "before" in installed_names("before")
    assert "after1" in installed_names("after1")


def test_two_plugins_of_one_name_are_both_loaded(run_calve, tmp_path):
    for distribution in ("first", "second"):
        info = tmp_path / f"{distribution}-1.dist-info"
        info.mkdir()
        (tmp_path / f"{distribution}_module.py").write_text("")
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[calve.plugins]\nsame = {distribution}_module\n")
    result = run_calve("plugins", "list", "--json", path=(tmp_path,))
    found = {
        plugin["distribution"]: plugin["status"]
        for plugin in json.loads(result.stdout)
        if plugin["name"] == "same"
    }
    assert found == {"first": "ok", "second": "ok"}


def test_the_first_distribution_of_a_name_on_the_path_wins(run_calve, tmp_path):
    folders = []
    for version in ("2", "1"):
        folder = tmp_path / version
        info = folder / f"twice-{version}.dist-info"
        info.mkdir(parents=True)
        (folder / "twice_module.py").write_text("")
        (info / "METADATA").write_text(f"Name: twice\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[calve.plugins]\ntwice = twice_module\n")
        folders.append(folder)
    result = run_calve("plugins", "list", "--json", path=tuple(folders))
    versions = [p["version"] for p in json.loads(result.stdout) if p["name"] == "twice"]
    assert versions == ["2"]
