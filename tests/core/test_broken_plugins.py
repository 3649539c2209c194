"""A broken plugin costs one clear line and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calve.registry.host import REGISTRATION_HOOKS

DATA = Path(__file__).parents[1] / "plugins" / "data"

# folder, plugin, distribution and version, what the line must say
BROKEN = [
    ("import_error", "import_error", "acme-import-error 1.1", "no_such_module_for_calve"),
    ("syntax_error", "syntax_error", "acme-syntax-error 1.2", "SyntaxError"),
    ("system_exit", "system_exit", "acme-system-exit 1.3", "exit(3)"),
    ("assertion_error", "assertion_error", "acme-assertion-error 1.4", "license server"),
    ("register_error", "register_error", "acme-register-error 1.5", "no_such_argument"),
    ("hook_error", "hook_error", "acme-hook-error 1.6", "RuntimeError: out of coffee"),
    ("misspelt_hook", "misspelt_hook", "acme-misspelt-hook 1.7", "'calve_register_encoders'"),
    ("wrong_type", "wrong_type", "acme-wrong-type 1.8", "EncoderSpecs, found str"),
    ("needs_newer_calve", "needs_newer_calve", "acme-needs-newer-calve 1.9", "calve>=99"),
    (
        "needs_missing_package",
        "needs_missing_package",
        "acme-needs-missing-package 2.0",
        "no-such-package-for-calve, which is not installed",
    ),
    (
        "takes_builtin_command",
        "takes_builtin_command",
        "acme-takes-builtin-command 3.3",
        "'lint' is calve's own",
    ),
    (
        "malformed_entry_points",
        "acme-malformed-entry-points",
        "acme-malformed-entry-points 3.4",
        "entry_points.txt cannot be read",
    ),
]
FOLDERS = tuple(folder for folder, *_ in BROKEN)
each_broken = pytest.mark.parametrize(("folder", "plugin", "distribution", "cause"), BROKEN)


@each_broken
def test_help_works_and_says_one_line(run_calve, folder, plugin, distribution, cause):
    result = run_calve("--help", fakes=(folder, "working"))
    assert result.returncode == 0
    assert "transcribe" in result.stdout
    assert "hello" in result.stdout
    (line,) = result.stderr.splitlines()
    for words in (plugin, distribution, cause, f"calve plugins check {plugin}"):
        assert words in line


@each_broken
def test_the_command_of_another_plugin_works(run_calve, folder, plugin, distribution, cause):
    result = run_calve("hello", fakes=(folder, "working"))
    assert (result.returncode, result.stdout) == (0, "hello from acme\n")
    assert len(result.stderr.splitlines()) == 1


@each_broken
def test_list_shows_it_as_broken_with_its_cause(run_calve, folder, plugin, distribution, cause):
    result = run_calve("plugins", "list", "--json", fakes=(folder,))
    assert result.returncode == 0
    (found,) = [p for p in json.loads(result.stdout) if p["name"] == plugin]
    assert found["status"] == "broken"
    assert f"{found['distribution']} {found['version']}" == distribution
    (problem,) = found["problems"]
    assert cause in problem["cause"]


@each_broken
def test_check_fails_with_the_cause(run_calve, folder, plugin, distribution, cause):
    result = run_calve("plugins", "check", plugin, fakes=(folder,))
    assert result.returncode == 1
    assert cause in result.stdout
    assert "Traceback" not in result.stderr


@each_broken
def test_strict_mode_refuses_every_command_but_plugins(
    run_calve, folder, plugin, distribution, cause
):
    strict = {"CALVE_STRICT_PLUGINS": "1"}
    refused = run_calve("hello", fakes=(folder, "working"), env=strict)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert cause in refused.stderr
    assert run_calve("plugins", "list", fakes=(folder,), env=strict).returncode == 0
    assert run_calve("--help", fakes=(folder,), env=strict).returncode == 0


def test_all_of_them_at_once_leave_calve_working(run_calve):
    result = run_calve("hello", fakes=(*FOLDERS, "working"))
    assert (result.returncode, result.stdout) == (0, "hello from acme\n")
    assert len(result.stderr.splitlines()) == len(BROKEN)


def test_debug_shows_the_original_traceback(run_calve):
    result = run_calve("--debug", "plugins", "check", "import_error", fakes=("import_error",))
    assert result.returncode == 1
    assert "acme_import_error.py" in result.stderr
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("folder", ["needs_newer_calve", "needs_missing_package"])
def test_a_plugin_with_unmet_requirements_is_not_imported(run_python, folder):
    script = (
        "import sys; from calve.registry.discovery import discover; discover(); "
        f"print('acme_{folder}' in sys.modules)"
    )
    assert run_python("-c", script, fakes=(folder,)).stdout == "False\n"


def test_what_a_plugin_registers_beside_its_broken_hook_stays(run_calve):
    assert "survivor" in run_calve("--help", fakes=("hook_error",)).stdout


def test_options_that_cannot_be_imported_cost_a_line_and_nothing_else(run_calve):
    result = run_calve("transcribe", "--help", fakes=("dangling_reference",))
    assert result.returncode == 0
    said = {line.partition(": cannot load")[0] for line in result.stderr.splitlines()}
    assert said == {
        "calve: options of decoding method 'dangling_search'",
        "calve: options of encoder 'dangling'",
    }


def test_a_malformed_file_of_a_package_that_is_no_plugin_is_none_of_our_business(run_calve):
    result = run_calve("--help", fakes=("unrelated_malformed", "working"))
    assert (result.returncode, result.stderr) == (0, "")
    assert "hello" in result.stdout


def test_ctrl_c_during_loading_is_not_taken_for_a_broken_plugin(run_calve, tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    info = tmp_path / "slow-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: slow\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[calve.plugins]\nslow = slow\n")
    result = run_calve("--help", path=(tmp_path,))
    assert result.returncode == 130
    assert result.stderr.strip() == "Interrupted."


class TestEveryHookOfOnePluginFails:
    def test_costs_one_line_and_leaves_the_others_working(self, run_calve):
        result = run_calve("hello", fakes=("every_hook_fails", "working"))
        assert (result.returncode, result.stdout) == (0, "hello from acme\n")
        (line,) = result.stderr.splitlines()
        assert "every_hook_fails" in line
        assert f"(and {len(REGISTRATION_HOOKS) - 1} more)" in line

    def test_check_names_each_hook(self, run_calve):
        checked = run_calve("plugins", "check", "every_hook_fails", fakes=("every_hook_fails",))
        assert checked.returncode == 1
        for hook in REGISTRATION_HOOKS:
            assert f"{hook}: RuntimeError: {hook} is out of order" in checked.stdout


class TestHanging:
    """A plugin or driver that never returns is named while calve waits for it."""

    SOON = "from calve.registry import waiting; waiting.PATIENCE = 0.5; "
    MAIN = SOON + "from calve.cli.application import main; main()"
    DRIVER = SOON + (
        "from calve.registry.discovery import load_driver; load_driver('calve.runtimes', 'hanging')"
    )

    @pytest.mark.parametrize(
        ("fake", "script", "action", "name"),
        [
            ("hangs_at_import", MAIN, "importing plugin", "hangs_at_import"),
            ("hangs_in_a_hook", MAIN, "calling calve_register_encoders of", "hangs_in_a_hook"),
        ],
    )
    def test_it_is_named_once_with_the_way_out_and_ctrl_c_ends_it(self, fake, script, action, name):
        line = self._line_while_it_hangs(fake, script)
        assert f"still {action}" in line
        assert f"{name!r} of acme-" in line
        assert f"CALVE_DISABLE_PLUGINS={name} or --no-plugins leaves it out" in line

    def test_a_driver_is_named_and_that_no_other_command_waits_for_it(self):
        line = self._line_while_it_hangs("drivers", self.DRIVER)
        assert "still importing the driver 'hanging' of calve.runtimes (acme-drivers 1.0)" in line
        assert "only commands that use it wait for it" in line
        assert "leaves it out" not in line

    def _line_while_it_hangs(self, fake, script):
        with subprocess.Popen(
            [sys.executable, "-c", script, "hello"],
            env=os.environ | {"PYTHONPATH": str(DATA / fake)},
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            line = child.stderr.readline()
            child.send_signal(signal.SIGINT)
            try:
                _, rest = child.communicate(timeout=20)
            finally:
                child.kill()
        assert "still" not in rest
        assert child.returncode != 0
        return line

    def test_one_that_does_not_is_not_named(self, run_python):
        script = "from calve.cli.application import run; run(['hello']); import time; time.sleep(1)"
        result = run_python("-c", self.SOON + script, fakes=("working",))
        assert (result.stdout, result.stderr) == ("hello from acme\n", "")


class TestDuplicates:
    fakes = ("duplicate_one", "duplicate_two", "working")

    def test_cost_one_line_that_names_both_distributions(self, run_calve):
        (line,) = run_calve("--help", fakes=self.fakes).stderr.splitlines()
        for words in ("acme-duplicate-one 3.1", "acme-duplicate-two 3.2", "contested_search"):
            assert words in line

    def test_using_a_contested_command_is_an_error_naming_both(self, run_calve):
        result = run_calve("contested", fakes=self.fakes)
        assert result.returncode == 1
        error = result.stderr.split("Error:")[1]
        assert "acme-duplicate-one 3.1" in error
        assert "acme-duplicate-two 3.2" in error
        assert "CALVE_DISABLE_PLUGINS" in error

    def test_leave_other_names_and_plugins_alone(self, run_python):
        script = (
            "from calve.registry.catalog import build_registry; r = build_registry(); "
            "ends = ('one', 'two', 'search'); "
            "print([n for n in r.decoding_methods.names() if n.endswith(ends)], "
            "'contested_search' in r.decoding_methods)"
        )
        result = run_python("-c", script, fakes=self.fakes)
        names, contested = result.stdout.strip().rsplit(" ", 1)
        assert "search_one" in names
        assert "search_two" in names
        assert contested == "False"

    def test_disabling_one_settles_it(self, run_python):
        script = (
            "from calve.registry.catalog import registry; "
            "print(registry().decoding_methods.source('contested_search').distribution)"
        )
        result = run_python(
            "-c", script, fakes=self.fakes, env={"CALVE_DISABLE_PLUGINS": "duplicate_one"}
        )
        assert (result.stdout, result.stderr) == ("acme-duplicate-two\n", "")


class TestDisabling:
    def test_a_disabled_plugin_is_not_loaded_and_says_nothing(self, run_calve):
        env = {"CALVE_DISABLE_PLUGINS": "import_error, system_exit"}
        result = run_calve("--help", fakes=("import_error", "system_exit"), env=env)
        assert (result.returncode, result.stderr) == (0, "")

    def test_all_means_every_plugin_that_is_not_calves_own(self, run_calve):
        result = run_calve(
            "plugins", "list", "--json", fakes=("working",), env={"CALVE_DISABLE_PLUGINS": "all"}
        )
        status = {p["name"]: p["status"] for p in json.loads(result.stdout)}
        assert status.pop("acme") == "disabled"
        assert set(status.values()) == {"ok"}

    @pytest.mark.parametrize(
        ("allowed", "status"),
        [
            ("acme-working", "ok"),
            ("other, Acme_Working", "ok"),
            ("other", "disabled"),
            ("", "disabled"),
        ],
    )
    def test_only_allowed_distributions_are_loaded_beside_calves_own(
        self, run_calve, allowed, status
    ):
        result = run_calve(
            *("plugins", "list", "--json"),
            fakes=("working", "system_exit"),
            env={"CALVE_ALLOW_PLUGINS": allowed},
        )
        found = {p["name"]: p["status"] for p in json.loads(result.stdout)}
        assert found.pop("acme") == status
        assert found.pop("system_exit") == "disabled"
        assert set(found.values()) == {"ok"}
        assert result.stderr == ""

    def test_what_is_not_allowed_is_not_imported(self, run_python):
        script = (
            "import sys; from calve.registry.discovery import discover; discover(); "
            "print('acme_working' in sys.modules)"
        )
        for allowed, imported in (("other", "False"), ("acme-working", "True")):
            env = {"CALVE_ALLOW_PLUGINS": allowed}
            result = run_python("-c", script, fakes=("working",), env=env)
            assert result.stdout == f"{imported}\n"

    def test_no_plugins_leaves_them_out_of_one_call(self, run_calve):
        assert "hello" in run_calve("--help", fakes=("working",)).stdout
        result = run_calve("--no-plugins", "--help", fakes=("working", "import_error"))
        assert (result.returncode, result.stderr) == (0, "")
        assert "hello" not in result.stdout.split("Commands:")[1]
        assert run_calve("--no-plugins", "hello", fakes=("working",)).returncode == 2

    def test_no_plugins_adds_to_those_that_are_disabled_already(self, run_calve):
        env = {"CALVE_DISABLE_PLUGINS": "onnx"}
        shown = run_calve("--no-plugins", "plugins", "list", "--json", fakes=("working",), env=env)
        status = {one["name"]: one["status"] for one in json.loads(shown.stdout)}
        assert (status["acme"], status["onnx"], status["ncnn"]) == ("disabled", "disabled", "ok")

    @pytest.mark.parametrize(
        "env", [{"CALVE_DISABLE_PLUGINS": "all"}, {"CALVE_ALLOW_PLUGINS": "other"}]
    )
    def test_a_driver_of_another_distribution_is_left_alone_too(self, run_python, env):
        script = (
            "from calve.registry.discovery import load_driver; "
            "load_driver('calve.runtimes', 'NAME')"
        )
        name = drivers_of_the_fake()[0]
        result = run_python("-c", script.replace("NAME", name), fakes=("drivers",), env=env)
        assert f"the driver '{name}' of calve.runtimes is disabled" in result.stderr


def drivers_of_the_fake():
    """Names of runtimes that the fake distribution ``drivers`` provides."""
    (text,) = [file.read_text() for file in (DATA / "drivers").glob("*.dist-info/entry_points.txt")]
    section = text.split("[calve.runtimes]")[1].split("[")[0]
    return [line.split("=")[0].strip() for line in section.splitlines() if "=" in line]
