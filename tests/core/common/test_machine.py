"""What Linux tells about a machine, read from made-up files."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.common.machine import available_memory, cpu_features, free_space, usable_cpus

KIB = 1024


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_tile\n",
            ("AVX2", "AVX-512", "AVX-512 VNNI", "AMX"),
        ),
        ("processor\t: 0\nflags\t\t: fpu sse2\n", ()),
        (
            "Features\t: fp asimd asimddp i8mm\n",
            ("NEON", "NEON dot product", "NEON int8 matrix product"),
        ),
        ("Features\t: half thumb neon\nFeatures\t: half thumb neon\n", ("NEON",)),
    ],
)
def test_the_instruction_sets_of_x86_and_arm_have_their_usual_names(
    tmp_path: Path, cpuinfo: str, features: tuple[str, ...]
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_features(tmp_path) == features


def test_a_system_that_does_not_tell_is_unknown_and_no_error(tmp_path: Path) -> None:
    assert cpu_features(tmp_path) is None
    assert available_memory(tmp_path) is None
    assert free_space(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, (600 * KIB, 1000 * KIB)),
        ({"memory.max": "max", "memory.current": "5"}, (600 * KIB, 1000 * KIB)),
        ({"memory.max": str(300 * KIB), "memory.current": str(100 * KIB)}, (200 * KIB, 300 * KIB)),
        ({"memory.max": str(300 * KIB), "memory.current": str(400 * KIB)}, (0, 300 * KIB)),
        ({"memory.max": str(5000 * KIB), "memory.current": "0"}, (600 * KIB, 1000 * KIB)),
    ],
)
def test_memory_is_at_most_what_the_container_may_use(
    tmp_path: Path, limits: dict[str, str], expected: tuple[int, int]
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n"
    )
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in limits.items():
        (tmp_path / "sys/fs/cgroup" / name).write_text(f"{text}\n")
    assert available_memory(tmp_path) == expected


def test_this_machine_has_processors_and_space(tmp_path: Path) -> None:
    usable, total = usable_cpus()
    assert 1 <= usable <= total
    free, size = free_space(tmp_path) or (0, 0)
    assert 0 < free <= size
