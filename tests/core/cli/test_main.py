"""The ``calve`` group: help, suggestions, errors, exit codes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import calve
from calve.cli.application import LazyCommand, run
from calve.common.references import LazyRef
from calve.registry.builtin_commands import BUILTIN_COMMANDS
from calve.registry.specs import CommandSpec

MAIN = "import sys; from calve.cli.application import main; sys.argv[0] = 'calve'; main()"
COMMANDS = """
import click, sys, time

@click.command()
@click.argument("how")
def fail(how):
    "Fail in one way or another."
    if how == "bug":
        raise KeyError("a bug")
    if how == "latin":
        "caf\\udce9.model".encode()
    if how == "calve":
        from calve.errors import ConfigError
        raise ConfigError("two flags contradict", where="--avg", fix="drop one")
    if how == "exit":
        raise click.exceptions.Exit(7)
    if how == "abort":
        raise click.Abort
    if how == "interrupt":
        print("waiting", flush=True)
        time.sleep(30)
    if how == "write":
        from calve.common.files import atomic_dir, scratch_folder
        with atomic_dir("out"), scratch_folder("calve-test-"):
            print("waiting", flush=True)
            time.sleep(30)
    if how == "descriptor":
        import os
        from calve.common.files import atomic_file
        with atomic_file("out") as path, path.open("wb") as file:
            file.write(b"content")
            file.flush()
            try:
                os.write(1, b"noise of native code")
            except OSError:
                pass
    if how == "long":
        open("x" * 300)
    if how == "message":
        from calve.cli.output import echo
        echo("a note", err=True)
        echo("a result")
    if how == "chatter":
        for number in range(100_000):
            print(number)
"""
PLUGIN = """
from calve.api import CommandSpec, LazyRef, hookimpl

@hookimpl
def calve_register_commands():
    yield CommandSpec("fail", LazyRef("failing_commands:fail"), "Fail.")
"""


@pytest.fixture
def failing(tmp_path):
    """A distribution with a command that fails as its argument says."""
    info = tmp_path / "failing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: failing\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[calve.plugins]\nfailing = failing_plugin\n")
    (tmp_path / "failing_plugin.py").write_text(PLUGIN)
    (tmp_path / "failing_commands.py").write_text(COMMANDS)
    return tmp_path


def test_help_lists_every_command_with_its_static_help(run_calve):
    shown = " ".join(run_calve("--help", fakes=("working",)).stdout.split())
    for command in BUILTIN_COMMANDS:
        assert f"{command.name} {command.short_help}" in shown
    of_plugins = shown.partition("Commands of plugins: ")[2]
    assert "hello Say hello." in of_plugins


def test_every_command_in_the_table_is_there_under_its_name():
    for spec in BUILTIN_COMMANDS:
        command = LazyCommand(spec).load()
        assert command.name == spec.name


def test_help_of_a_command_is_its_own(run_calve):
    shown = run_calve("plugins", "--help").stdout
    assert "check" in shown
    assert "Usage: calve plugins" in shown


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"calve {calve.__version__}\n"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("exprt", "'export'"), ("transcibe", "'transcribe'"), ("helo", "'hello'")],
)
def test_an_unknown_command_is_an_error_with_a_suggestion(run_calve, written, meant):
    result = run_calve(written, fakes=("working",))
    assert result.returncode == 2
    assert f"No such command {written!r}; did you mean {meant}" in result.stderr


def test_a_deliberate_error_is_its_message_and_exit_code(run_calve, failing):
    result = run_calve("fail", "calve", path=(failing,))
    assert result.returncode == 2
    assert result.stderr == ("Error: two flags contradict\n  where: --avg\n  fix:   drop one\n")


def test_an_unexpected_exception_is_one_clear_line_and_a_hint(run_calve, failing):
    result = run_calve("fail", "bug", path=(failing,))
    assert result.returncode == 1
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first == "Error: unexpected KeyError: 'a bug'"
    assert "calve --debug" in hint


def test_a_name_that_a_library_cannot_be_given_is_named(run_calve, failing):
    result = run_calve("fail", "latin", path=(failing,))
    assert result.returncode == 1
    assert "a name is not UTF-8, and a library cannot open the file" in result.stderr
    assert r"where: caf\udce9.model" in result.stderr


@pytest.mark.parametrize("how", ["bug", "calve"])
@pytest.mark.parametrize(("arguments", "env"), [(("--debug",), {}), ((), {"CALVE_DEBUG": "1"})])
def test_debug_adds_the_traceback(run_calve, failing, how, arguments, env):
    result = run_calve(*arguments, "fail", how, path=(failing,), env=env)
    assert result.returncode in (1, 2)
    assert "Traceback" in result.stderr
    assert "failing_commands.py" in result.stderr


@pytest.mark.parametrize(("how", "code"), [("exit", 7), ("abort", 130)])
def test_a_command_chooses_its_exit_code(run_calve, failing, how, code):
    assert run_calve("fail", how, path=(failing,)).returncode == code


def test_ctrl_c_is_one_line_and_130(failing):
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "fail", "interrupt"],
        env={**os.environ, "PYTHONPATH": str(failing)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "waiting\n"
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 130
    assert errors.strip() == "Interrupted."
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_end_cleans_up_like_ctrl_c(failing, tmp_path, number, code):
    place, temporary = tmp_path / "place", tmp_path / "temporary"
    place.mkdir()
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "fail", "write"],
        env={**os.environ, "PYTHONPATH": str(failing), "TMPDIR": str(temporary)},
        cwd=place,
        # Whoever runs the tests under nohup has the signal ignored, and so would the child.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "waiting\n"
        assert [*place.iterdir()]
        assert [*temporary.iterdir()]
        child.send_signal(number)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == code
    assert errors.strip() == f"Ended: terminated by {number.name}."
    assert [*place.iterdir(), *temporary.iterdir()] == []


def test_what_a_command_prints_never_reaches_a_file_where_stdout_is_closed(failing, tmp_path):
    command = 'exec "$0" -c "$1" fail descriptor >&-'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, MAIN],
        env={**os.environ, "PYTHONPATH": str(failing)},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == b"content"


@pytest.mark.parametrize("arguments", [("fail", "chatter"), ("--help",)])
def test_a_reader_that_goes_away_is_no_error_to_talk_about(failing, arguments):
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, "PYTHONPATH": str(failing)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        child.stdout.close()
        assert child.stderr.read() == b""


@pytest.mark.parametrize("arguments", [("plugins", "list", "--json"), ("--help",)])
def test_a_stdout_that_is_full_is_an_error_that_says_so(failing, arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *arguments],
            env={**os.environ, "PYTHONPATH": str(failing)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the results cannot be printed: No space left on device\n  where: stdout\n"
    )


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), ("2>&-", 0), ("2>/dev/full", 0)])
def test_the_exit_code_is_that_of_the_work_whatever_became_of_the_streams(
    failing, redirection, code
):
    command = f'exec "$0" -c "$1" --help {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, MAIN],
        env={**os.environ, "PYTHONPATH": str(failing)},
        capture_output=True,
    )
    assert done.returncode == code


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_message_that_stderr_does_not_take_stops_no_command(failing, redirection):
    command = f'exec "$0" -c "$1" fail message {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, MAIN],
        env={**os.environ, "PYTHONPATH": str(failing)},
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"a result\n")


def test_a_file_that_the_system_refuses_is_no_bug(run_calve, failing):
    result = run_calve("fail", "long", path=(failing,))
    assert result.returncode == 1
    assert "Error: the system refuses a file: File name too long\n  where: xxx" in result.stderr
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_error_keeps_its_exit_code_where_stderr_takes_nothing(failing, redirection):
    command = f'exec "$0" -c "$1" fail calve {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, MAIN],
        env={**os.environ, "PYTHONPATH": str(failing)},
        capture_output=True,
    )
    assert done.returncode == 2


def test_letters_that_the_encoding_lacks_end_no_command(failing):
    (failing / "failing_commands.py").write_text(
        COMMANDS.replace('raise KeyError("a bug")', 'print("ä")')
    )
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "fail", "bug"],
        env={**os.environ, "PYTHONPATH": str(failing), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert (done.returncode, done.stdout) == (0, b"\\xe4\n")


def _errors_on_a_terminal(failing, env):
    """What ``fail calve`` prints where stderr is a terminal."""
    main, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "fail", "calve"],
        env={**os.environ, "PYTHONPATH": str(failing), "TERM": "xterm", **env},
        stderr=end,
    ) as child:
        assert child.wait(timeout=20) == 2
    os.close(end)
    return os.read(main, 10_000).decode()


def test_an_error_is_red_on_a_terminal_unless_no_color_is_set(failing):
    assert "\x1b[31m" in _errors_on_a_terminal(failing, {"NO_COLOR": ""})
    assert "\x1b" not in _errors_on_a_terminal(failing, {"NO_COLOR": "1"})


def test_a_reference_to_something_that_is_no_command_is_an_error(run_calve):
    result = run_calve("survivor", fakes=("hook_error",))
    assert result.returncode == 1
    assert "not a click command" in result.stderr


def test_a_command_whose_module_is_missing_names_it():
    command = LazyCommand(CommandSpec("x", LazyRef("no_such_module_for_calve:x"), "X."))
    with pytest.raises(Exception, match="no_such_module_for_calve"):
        command.make_context("x", [])


@pytest.mark.parametrize(("shown", "expected"), [(None, ""), ("default", "UserWarning: raw")])
def test_warnings_of_libraries_are_shown_on_request_alone(
    run_python, monkeypatch, shown: str | None, expected: str
):
    if shown is None:
        monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    else:
        monkeypatch.setenv("PYTHONWARNINGS", shown)
    script = (
        "import subprocess, sys, warnings; from calve.cli import application\n"
        "def run():\n"
        "    warnings.warn('raw')\n"
        "    child = 'import warnings; warnings.warn(\"of a child\")'\n"
        "    subprocess.run([sys.executable, '-c', child])\n"
        "    return 0\n"
        "application.run = run; application.main()"
    )
    printed = run_python("-c", script).stderr
    assert expected in printed
    assert bool(printed) == bool(expected) == ("of a child" in printed)
