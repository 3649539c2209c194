"""What start-up imports, and how long it takes."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *("torch", "numba", "numpy", "lhotse", "k2", "onnx", "onnxruntime", "tensorboard"),
    *("ncnn", "pnnx", "sherpa_ncnn", "sherpa_onnx"),
    *("soundfile", "soxr", "kaldi_native_fbank", "kaldialign", "sentencepiece"),
    *("jinja2", "matplotlib", "rich", "asyncio", "calve.protocols"),
}
BASELINE = ("-c", "import click, pluggy, stevedore")
HELP = ("-c", "from calve.cli.application import run; run(['--help'])")


@pytest.mark.parametrize(
    "statement",
    [
        "import calve",
        "import calve.api",
        "from calve.cli.application import run; run(['--help'])",
        "from calve.cli.application import run; run(['--version'])",
        "from calve.cli.application import run; run(['plugins', 'list'])",
        "from calve.cli.application import run; run(['plugins', 'list', '--json'])",
        "from calve.cli.application import run; run(['plugins', 'info', 'ncnn'])",
    ],
)
def test_start_up_imports_nothing_heavy(run_python, statement):
    script = (
        f"{statement}\nimport sys\nprint('LOADED', *sorted({set(HEAVY)!r} & sys.modules.keys()))"
    )
    result = run_python("-c", script, fakes=("working",))
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "LOADED"


def test_help_imports_no_command_module(run_python):
    script = (
        "from calve.cli.application import run; run(['--help']); "
        "import sys; print(*sorted(sys.modules))"
    )
    loaded = run_python("-c", script).stdout.splitlines()[-1].split()
    assert [name for name in loaded if name.startswith("calve.cli")] == [
        "calve.cli",
        "calve.cli.application",
    ]


def _seconds(arguments: tuple[str, ...], path: Path | None) -> float:
    """Processor time, which grows little where the machine has other work as well."""
    env = {"PYTHONPATH": "" if path is None else str(path)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _paired_medians(
    first: tuple[tuple[str, ...], Path | None], second: tuple[tuple[str, ...], Path | None]
) -> tuple[float, float]:
    """Medians of 15 interleaved runs, so that what does grow hits both alike."""
    for command in (first, second):
        _seconds(*command)
    pairs = [(_seconds(*first), _seconds(*second)) for _ in range(15)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def test_help_takes_at_most_half_again_as_long_as_its_libraries():
    for _ in range(3):
        baseline, with_calve = _paired_medians((BASELINE, None), (HELP, None))
        if with_calve <= 1.5 * baseline:
            return
    pytest.fail(f"calve --help takes {with_calve:.3f} s, its libraries alone {baseline:.3f} s")


def _install_many(folder: Path, count: int) -> None:
    for number in range(count):
        name = f"many_{number:03}"
        (folder / f"{name}.py").write_text(
            "from calve.api import CommandSpec, LazyRef, hookimpl\n\n\n"
            "@hookimpl\ndef calve_register_commands():\n"
            f"    yield CommandSpec('{name}', LazyRef('os:getcwd'), 'One of many.')\n"
        )
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: calve>=0.1\n"
        )
        (info / "entry_points.txt").write_text(f"[calve.plugins]\n{name} = {name}\n")


def test_a_hundred_plugins_all_work_and_cost_less_than_100_ms(tmp_path):
    _install_many(tmp_path, 100)
    shown = subprocess.run(
        [sys.executable, *HELP],
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.count("One of many.") == 100
    assert shown.stderr == ""
    for _ in range(3):
        without, with_many = _paired_medians((HELP, None), (HELP, tmp_path))
        if with_many - without < 0.1:
            return
    pytest.fail(f"a hundred plugins cost {(with_many - without) * 1e3:.0f} ms")
