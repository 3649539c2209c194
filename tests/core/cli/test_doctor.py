"""``calve doctor``."""

from __future__ import annotations

import json


def test_every_line_is_an_outcome_and_json_has_the_same_lines(run_calve):
    shown = run_calve("doctor")
    assert (shown.returncode, shown.stderr) == (0, "")
    as_json = run_calve("doctor", "--json")
    assert as_json.returncode == 0
    report = json.loads(as_json.stdout)
    assert report["works"] is True
    assert {one["outcome"] for one in report["diagnoses"]} <= {"ok", "warn", "missing"}
    lines = [line.split() for line in shown.stdout.splitlines()]
    for one in report["diagnoses"]:
        assert any(
            [one["outcome"], *one["subject"].split()] == line[: 1 + len(one["subject"].split())]
            for line in lines
        )
        assert one["outcome"] == "ok" or one["fix"]
    subjects = {one["subject"] for one in report["diagnoses"]}
    assert {"calve", "Python", "torch", "runtime torch", "memory", "/dev/shm"} <= subjects


def test_a_broken_plugin_is_a_warning_and_nothing_else(run_calve):
    strict = {"CALVE_STRICT_PLUGINS": "1"}
    result = run_calve("doctor", "--json", fakes=("import_error",), env=strict)
    assert result.returncode == 0
    (found,) = [
        one
        for one in json.loads(result.stdout)["diagnoses"]
        if one["subject"] == "import_error (acme-import-error 1.1)"
    ]
    assert found["outcome"] == "warn"
    assert "no_such_module_for_calve" in found["detail"]
    assert found["fix"] == "calve plugins info import_error"


def test_a_missing_requirement_of_calve_itself_is_exit_code_1(run_python):
    script = (
        "from importlib import metadata\n"
        "requires = metadata.requires\n"
        "metadata.requires = lambda name: [*requires(name), 'no-such-package-for-calve']\n"
        "import sys; from calve.cli.application import run; sys.exit(run(['doctor']))"
    )
    result = run_python("-c", script)
    assert result.returncode == 1
    assert "missing no-such-package-for-calve" in " ".join(result.stdout.split())
    assert "pip install 'no-such-package-for-calve'" in result.stdout


def test_nothing_heavy_is_imported_in_the_process_itself(run_python):
    script = (
        "from calve.cli.application import run; run(['doctor']); import sys\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'ncnn', 'lhotse', 'matplotlib'}\n"
        "print('LOADED', *sorted(heavy & sys.modules.keys()))"
    )
    assert run_python("-c", script).stdout.splitlines()[-1] == "LOADED"
