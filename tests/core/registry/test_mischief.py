"""Plugins that misbehave in odd ways; each is a distribution that the test writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOOD_SPEC = "CommandSpec('hello', LazyRef('acme_mischief:hello'), 'Say hello.')"

AT_IMPORT = {
    "raises what cannot be printed": """
class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")
raise Odd
""",
    "exits with an object": "import sys\nsys.exit(object())",
    "exits with what cannot be printed": """
import sys
class Odd:
    def __repr__(self): raise RuntimeError("no text")
sys.exit(Odd())
""",
    "raises a base exception": "raise BaseException('base')",
    "raises a generator's end": "raise GeneratorExit",
    "raises a group": "raise Exception(*range(10_000))",
    "prints a flood": "for n in range(10_000): print('flood', n)",
    "floods stderr": "import sys\nfor n in range(10_000): print('flood', n, file=sys.stderr)",
    "prints half a line": "print('half', end='')",
    "writes to descriptor 1": "import os\nos.write(1, b'native noise\\n')",
    "fails in a thread": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
    "fails at exit": "import atexit\natexit.register(lambda: 1 / 0)",
    "fails when deleted": """
class Odd:
    def __del__(self): raise RuntimeError("never dies in peace")
Odd()
""",
    "changes the recursion limit": "def deeper(n): return deeper(n + 1)\ndeeper(0)",
    "warns": "import warnings\nfor n in range(100): warnings.warn(f'warning {n}')",
}

HOOKS = {
    "name is None": "CommandSpec(None, LazyRef('a:b'), 'text')",
    "name is a list": "CommandSpec(['a'], LazyRef('a:b'), 'text')",
    "name is a number": "CommandSpec(5, LazyRef('a:b'), 'text')",
    "name is empty": "CommandSpec('', LazyRef('a:b'), 'text')",
    "name has a line end": "CommandSpec('a\\nb', LazyRef('a:b'), 'text')",
    "name has an escape": "CommandSpec('a\\x1b[31m', LazyRef('a:b'), 'text')",
    "reference is a string": "CommandSpec('a', 'a:b', 'text')",
    "reference is None": "CommandSpec('a', None, 'text')",
    "help is bytes": "CommandSpec('a', LazyRef('a:b'), b'text')",
    "help is missing": "CommandSpec('a', LazyRef('a:b'))",
    "a class, not a spec": "CommandSpec",
    "None in place of a spec": "None",
    "another spec": "StageSpec('a', 'text', LazyRef('a:b'))",
    "never equal": "type('Odd', (CommandSpec,), {'__eq__': lambda a, b: 1 / 0})"
    "('a', LazyRef('a:b'), 'text')",
    "no hash": "type('Odd', (CommandSpec,), {'__hash__': lambda a: 1 / 0})"
    "('a', LazyRef('a:b'), 'text')",
    "odd string": "CommandSpec(type('Odd', (str,), {'__str__': lambda a: 1 / 0})('a'), "
    "LazyRef('a:b'), 'text')",
}

CALLS = {
    "raises midway": "    yield {spec}\n    raise KeyError('midway')",
    "exits": "    raise SystemExit(3)",
    "prints": "    print('noise')\n    yield {spec}",
    "writes to descriptor 1": "    import os\n    os.write(1, b'native noise')\n    yield {spec}",
    "never ends": "    while True: yield {spec}",
    "returns a string": "    return 'text'",
    "returns a number": "    return 5",
    "returns a dict": "    return {{'a': 1}}",
    "returns an odd iterator": "    class Odd:\n"
    "        def __iter__(self): raise MemoryError('odd')\n    return Odd()",
}


def distribution(folder: Path, source: str, *, name: str = "acme-mischief") -> Path:
    """A folder with an installed distribution of one plugin module."""
    folder.mkdir(exist_ok=True)
    (folder / "acme_mischief.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[calve.plugins]\nmischief = acme_mischief\n")
    return folder


def hook(body: str) -> str:
    return (
        "from calve.api import *\nimport click\n"
        "@click.command()\ndef hello(): click.echo('hello')\n"
        f"@hookimpl\ndef calve_register_commands():\n{body}\n"
    )


def calve(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """The real command, with the distribution on the module path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CALVE_")}
    return subprocess.run(
        [sys.executable, "-m", "calve", *arguments],
        env={**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        timeout=60,
    )


def listed(output: bytes) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads(output)}


def check_that_calve_works(folder: Path, *, lines: int) -> None:
    """The others are listed as JSON, and the plugin costs no more than ``lines`` on stderr."""
    result = calve(folder, "plugins", "list", "--json")
    assert result.returncode == 0, result.stderr.decode()
    found = listed(result.stdout)
    assert found["ncnn"]["status"] == "ok"
    assert "mischief" in found
    assert len(result.stderr.splitlines()) <= lines, result.stderr.decode()
    assert b"\x1b" not in result.stdout + result.stderr
    assert b"Traceback" not in b"".join(result.stderr.splitlines()[:1])


@pytest.mark.parametrize("source", AT_IMPORT.values(), ids=AT_IMPORT.keys())
def test_what_a_plugin_does_at_import_breaks_nothing_else(tmp_path: Path, source: str):
    # Python itself reports what fails in threads, at exit and in destructors.
    check_that_calve_works(distribution(tmp_path / "site", source), lines=15)


@pytest.mark.parametrize("spec", HOOKS.values(), ids=HOOKS.keys())
def test_a_wrong_spec_is_found_where_it_is_registered(tmp_path: Path, spec: str):
    folder = distribution(tmp_path / "site", hook(f"    yield {spec}"))
    check_that_calve_works(folder, lines=1)
    (problem,) = listed(calve(folder, "plugins", "list", "--json").stdout)["mischief"]["problems"]
    assert problem["stage"] == "calve_register_commands"
    assert problem["cause"]
    helped = calve(folder, "--help")
    assert (helped.returncode, b"transcribe" in helped.stdout) == (0, True)


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS.keys())
def test_what_a_hook_does_breaks_nothing_else(tmp_path: Path, body: str):
    folder = distribution(tmp_path / "site", hook(body.format(spec=GOOD_SPEC)))
    check_that_calve_works(folder, lines=2)


def test_a_sound_plugin_of_the_same_make_works(tmp_path: Path):
    folder = distribution(tmp_path / "site", hook(f"    yield {GOOD_SPEC}"))
    result = calve(folder, "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello\n", b"")


def test_the_first_lines_of_a_flood_are_shown_and_the_plugin_is_named(tmp_path: Path):
    folder = distribution(tmp_path / "site", AT_IMPORT["floods stderr"])
    *lines, last = calve(folder, "plugins", "list", "--json").stderr.decode().splitlines()
    assert lines == [f"flood {number}" for number in range(5)]
    assert "plugin 'mischief' of acme-mischief 1.0 printed more" in last


@pytest.mark.parametrize(
    ("entry_points", "status"),
    [
        (b"\x00\x01\x02[calve.plugins]\nmischief = acme_mischief\n", None),
        ("[calve.plugins]\nmischief = acme_mischief\n".encode("utf-16"), None),
        (b"[calve.plugins]\nmischief = \x00\n", "broken"),
        (b"[calve.plugins]\nmischief = acme_mischief:a b c\n", "broken"),
        (b"[calve.plugins]\nmischief = " + b"a." * 20_000 + b"b\n", "broken"),
        (b"[calve.plugins\nmischief = acme_mischief\n", None),
        (b"[calve.plugins]\nmischief\n", None),
        (b"[calve.plugins]\n = \n", None),
    ],
)
@pytest.mark.parametrize("command", ["list", "check"])
def test_odd_metadata_breaks_nothing_else(
    tmp_path: Path, entry_points: bytes, status: str | None, command: str
):
    folder = distribution(tmp_path / "site", "")
    (file,) = folder.glob("*.dist-info/entry_points.txt")
    file.write_bytes(entry_points)
    result = calve(folder, "plugins", command, "--json")
    found = listed(result.stdout)
    assert found["ncnn"]["status"] == "ok"
    if status is not None:
        assert found["mischief"]["status"] == status
    assert result.returncode in (0, 1)
    assert b"Traceback" not in result.stderr


class TestADistributionThatCallsItselfCalve:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return distribution(tmp_path / "site", hook(f"    yield {GOOD_SPEC}"), name="calve")

    def test_hides_no_plugin_of_calve(self, folder: Path):
        assert {"ncnn", "onnx", "mischief"} <= listed(
            calve(folder, "plugins", "list", "--json").stdout
        ).keys()

    def test_is_left_out_by_no_plugins(self, folder: Path):
        result = calve(folder, "--no-plugins", "plugins", "list", "--json")
        found = listed(result.stdout)
        assert found["mischief"]["status"] == "disabled"
        assert found["ncnn"]["status"] == "ok"
        assert calve(folder, "--no-plugins", "hello").returncode == 2

    @pytest.mark.parametrize(
        "env", [{"CALVE_DISABLE_PLUGINS": "all"}, {"CALVE_ALLOW_PLUGINS": "other"}]
    )
    def test_is_left_out_by_the_environment(self, folder: Path, env: dict[str, str]):
        found = listed(calve(folder, "plugins", "list", "--json", **env).stdout)
        assert found["mischief"]["status"] == "disabled"
        assert found["ncnn"]["status"] == "ok"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nos._exit(0)", "ended the process with exit code 0"),
        ("import os\nos.abort()", "crashed with SIGABRT"),
        ("while True: pass", "did not finish within 5 s"),
        (hook("    while True: pass"), "did not finish within 5 s"),
        (hook("    import os\n    os._exit(0)"), "ended the process with exit code 0"),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()",
            "did not finish within 5 s",
        ),
    ],
)
def test_the_check_finds_what_no_guard_survives(tmp_path: Path, source: str, said: str):
    folder = distribution(tmp_path / "site", source)
    result = calve(folder, "plugins", "check", "mischief", "--time-limit", "5")
    assert result.returncode == 1
    assert said in result.stdout.decode()
    assert b"CALVE_DISABLE_PLUGINS=mischief" in result.stdout
