"""Properties of the machine: processors, memory, disks. On Linux they are read from ``/proc``."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

__all__ = ["available_memory", "cpu_features", "free_space", "platform_name", "usable_cpus"]

_FEATURES: Mapping[str, str] = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_tile": "AMX",
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "NEON int8 matrix product",
    "sve": "SVE",
}
"""Linux' flags of x86 and ARM processors, with their common names."""


def usable_cpus() -> tuple[int, int]:
    """Return the number of usable processors, and of all processors of the machine."""
    total = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)), total
    return total, total


def cpu_features(proc: Path = Path("/proc")) -> tuple[str, ...] | None:
    """Return the instruction sets that matter to neural networks; None if they are unknown.

    Args:
      proc: Where the proc file system is.
    """
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            flags.update(value.split())
    return tuple(dict.fromkeys(name for flag, name in _FEATURES.items() if flag in flags))


def available_memory(root: Path = Path("/")) -> tuple[int, int] | None:
    """Return the available and the total bytes of memory; None if they are unknown.

    In a container, both are limited to the memory of the container.

    Args:
      root: Where the file systems proc and sys are mounted.
    """
    try:
        text = (root / "proc/meminfo").read_text(encoding="utf-8")
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines()}
        available, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (OSError, KeyError, IndexError, ValueError):
        return None
    limit, used = (_cgroup(root, name) for name in ("memory.max", "memory.current"))
    if limit is not None:
        total = min(total, limit)
        available = min(available, limit - (used or 0))
    return max(available, 0), total


def free_space(path: Path | str) -> tuple[int, int] | None:
    """Return the free and the total bytes of the file system of ``path``; None if there is none."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return usage.free, usage.total


def platform_name() -> str:
    """The system and the processor's architecture, for example "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


def _cgroup(root: Path, name: str) -> int | None:
    """Return a limit of this container's control group; None if there is none."""
    try:
        return int((root / "sys/fs/cgroup" / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
