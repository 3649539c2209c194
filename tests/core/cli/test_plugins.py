"""``calve plugins list | check | info``."""

from __future__ import annotations

import json

import pytest


def test_list_shows_what_each_plugin_registers(run_calve):
    lines = run_calve("plugins", "list", fakes=("working",)).stdout.splitlines()
    assert lines[0].split() == ["plugin", "distribution", "status", "registers"]
    (line,) = [line for line in lines if line.startswith("acme ")]
    assert line.split(maxsplit=4)[1:4] == ["acme-working", "1.0", "ok"]
    assert line.endswith("1 encoder, 1 command")


def test_list_fits_a_terminal_of_80_columns(run_calve):
    lines = run_calve("plugins", "list", fakes=("working",)).stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_list_shows_a_broken_plugin_in_one_short_line(run_calve):
    lines = run_calve("plugins", "list", fakes=("import_error",)).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("import_error ")]
    assert line.split() == ["import_error", "acme-import-error", "1.1", "broken", "–"]


def test_list_says_how_to_learn_what_is_wrong(run_calve):
    assert run_calve("plugins", "list", fakes=("working",)).stderr == ""
    assert "calve plugins info" in run_calve("plugins", "list", fakes=("import_error",)).stderr


def test_list_as_json_has_every_plugin_with_its_hooks(run_calve):
    found = json.loads(run_calve("plugins", "list", "--json", fakes=("working",)).stdout)
    (acme,) = [plugin for plugin in found if plugin["name"] == "acme"]
    assert acme == {
        "name": "acme",
        "distribution": "acme-working",
        "version": "1.0",
        "target": "acme_working.plugin",
        "status": "ok",
        "hooks": [
            "calve_register_commands",
            "calve_register_encoders",
            "calve_stage_finished",
        ],
        "registers": {"encoder": ["acme_encoder"], "command": ["hello"]},
        "problems": [],
    }


def test_calves_own_plugins_are_all_well(run_calve):
    found = json.loads(run_calve("plugins", "list", "--json").stdout)
    status = {p["name"]: p["status"] for p in found if p["distribution"] == "calve"}
    assert {"lhotse", "lstm_transducer", "ncnn", "transducer"} <= set(status)
    assert set(status.values()) == {"ok"}


def test_everything_that_calves_own_plugins_refer_to_can_be_imported(run_calve):
    result = run_calve("plugins", "check")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout


def test_check_of_a_working_plugin_succeeds(run_calve):
    result = run_calve("plugins", "check", "acme", fakes=("working", "import_error"))
    assert result.returncode == 0
    assert result.stdout == "plugin 'acme' of acme-working 1.0: ok\n"


def test_check_finds_references_to_nothing_and_hooks_that_nobody_calls(run_calve):
    result = run_calve(
        "plugins", "check", "--json", "dangling_reference", fakes=("dangling_reference",)
    )
    assert result.returncode == 1
    (report,) = json.loads(result.stdout)
    causes = [problem["cause"] for problem in report["problems"]]
    assert "not marked with @hookimpl" in causes[0]
    assert len(causes) == 3
    assert all("no_such_thing" in cause for cause in causes[1:])


def test_check_of_all_fails_if_one_is_broken(run_calve):
    result = run_calve("plugins", "check", fakes=("import_error",))
    assert result.returncode == 1
    assert "no_such_module_for_calve" in result.stdout


def test_info_shows_options_that_json_does_not_have(run_calve, tmp_path):
    (tmp_path / "acme_paths.py").write_text(
        "from pathlib import Path\n"
        "from calve.api import EncoderSpec, LazyRef, hookimpl\n\n\n"
        "@hookimpl\ndef calve_register_encoders():\n"
        "    nothing = LazyRef('os:getcwd')\n"
        "    tiny = {'weights': Path('noise'), 'num_layers': 1}\n"
        "    yield EncoderSpec('acme', nothing, nothing, nothing, (), 's', tiny=tiny)\n"
    )
    info = tmp_path / "acme_paths-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: acme-paths\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[calve.plugins]\nacme_paths = acme_paths\n")
    env = {"PYTHONPATH": str(tmp_path)}
    shown = run_calve("plugins", "info", "acme_paths", env=env)
    assert shown.returncode == 0, shown.stderr
    assert 'tiny: {"weights": "noise", "num_layers": 1}' in shown.stdout
    assert "formats" not in shown.stdout
    (found,) = json.loads(run_calve("plugins", "info", "acme_paths", "--json", env=env).stdout)
    assert found["specs"]["encoder"][0]["tiny"]["weights"] == "noise"


def test_info_shows_every_spec(run_calve):
    shown = run_calve("plugins", "info", "acme", fakes=("working",)).stdout
    for words in (
        "plugin 'acme' of acme-working 1.0 (acme_working.plugin): ok",
        "name: acme_encoder",
        "build: acme_working.parts:Encoder",
        "short_help: Say hello.",
    ):
        assert words in shown


def test_info_as_json_has_the_specs(run_calve):
    result = run_calve("plugins", "info", "acme", "--json", fakes=("working",))
    (report,) = json.loads(result.stdout)
    assert report["specs"]["command"] == [
        {"name": "hello", "command": "acme_working.parts:hello", "short_help": "Say hello."}
    ]


def test_info_of_a_broken_plugin_tells_why(run_calve):
    shown = run_calve("plugins", "info", "import_error", fakes=("import_error",)).stdout
    assert "broken" in shown
    assert "no_such_module_for_calve" in shown


def test_an_unknown_plugin_is_an_error_with_a_suggestion(run_calve):
    for command in ("info", "check"):
        result = run_calve("plugins", command, "acne", fakes=("working",))
        assert result.returncode == 1
        assert "did you mean 'acme'" in result.stderr


@pytest.mark.parametrize(
    ("folder", "distribution", "failure"),
    [
        ("hangs_at_import", "acme-hangs-at-import", "did not finish within 5 s and was stopped"),
        ("ends_the_process", "acme-ends-the-process", "exited with code 5"),
    ],
)
def test_check_survives_a_plugin_that_no_process_survives_and_says_what_to_do(
    run_calve, folder, distribution, failure
):
    result = run_calve(
        *("plugins", "check", "--json", "--time-limit", "5"), fakes=(folder, "working")
    )
    assert (result.returncode, result.stderr) == (1, "")
    found = {report["name"]: report for report in json.loads(result.stdout)}
    assert found["acme"]["problems"] == []
    assert found[folder]["status"] == "broken"
    (problem,) = found[folder]["problems"]
    assert problem["stage"] == "load"
    assert failure in problem["cause"]
    assert f"uninstall {distribution}" in problem["cause"]
    assert f"CALVE_DISABLE_PLUGINS={folder}" in problem["cause"]


def test_a_plugin_that_hangs_can_be_left_out_as_check_says(run_calve):
    result = run_calve(
        "hello",
        fakes=("hangs_at_import", "working"),
        env={"CALVE_DISABLE_PLUGINS": "hangs_at_import"},
    )
    assert (result.returncode, result.stdout) == (0, "hello from acme\n")


def test_check_does_not_import_a_disabled_plugin_that_hangs(run_calve):
    result = run_calve(
        *("plugins", "check", "hangs_at_import"),
        fakes=("hangs_at_import",),
        env={"CALVE_DISABLE_PLUGINS": "hangs_at_import"},
    )
    assert result.returncode == 0
    assert "disabled" in result.stdout


def test_check_finds_a_plugin_that_writes_to_stdout(run_calve):
    result = run_calve("plugins", "check", "writes_to_stdout", fakes=("writes_to_stdout",))
    assert result.returncode == 1
    assert "acme-writes-to-stdout 3.7: load: importing acme_writes_to_stdout" in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("plugin ")]
    assert "acme says hello" in line
    assert "past Python" in line
    assert "acme-writes-to-stdout should use logging, or stderr" in result.stdout


def test_what_a_plugin_prints_when_imported_does_not_get_among_results(run_calve):
    result = run_calve("hello", fakes=("writes_to_stdout", "working"))
    assert result.returncode == 0
    assert "acme says hello" not in result.stdout
    assert "acme says hello" in result.stderr
