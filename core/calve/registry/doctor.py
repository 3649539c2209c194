"""The state of the environment: packages, clients, drivers, plugins, the machine.

Installed packages are read from their metadata. Drivers are imported in a child process, which
shows whether their native libraries load. Plugins report on their own packages through
`calve.registry.specs.ExporterSpec.doctor`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from calve.common.children import Child, Outcome, run_children
from calve.common.diagnosis import Diagnosis
from calve.common.exceptions import describe
from calve.common.machine import (
    available_memory,
    cpu_features,
    free_space,
    platform_name,
    usable_cpus,
)
from calve.common.printable import size_text
from calve.registry.catalog import Registry
from calve.registry.discovery import driver_names
from calve.registry.inspection import reports

__all__ = ["DRIVER_NAMESPACES", "Section", "diagnose"]

DRIVER_NAMESPACES: Mapping[str, str] = {
    "calve.runtimes": "runtime",
    "calve.loss_backends": "loss backend",
    "calve.fsa_backends": "FSA backend",
}
"""Namespaces of drivers, each with the name of its kind."""

_DEVELOPER_EXTRAS = {"test", "docs", "lint"}
_GIGABYTE = 1 << 30
_LEAST_MEMORY = 2 * _GIGABYTE
_LEAST_DISK = 2 * _GIGABYTE
_LEAST_SHARED = _GIGABYTE // 4
_SECONDS_FOR_DRIVERS = 120.0


@dataclass(frozen=True)
class Section:
    """Diagnoses under one heading.

    Attributes:
      name: The heading.
      diagnoses: The diagnoses.
      required: Whether calve needs everything in the section.
    """

    name: str
    diagnoses: tuple[Diagnosis, ...]
    required: bool = False


def diagnose(registry: Registry) -> Iterator[Section]:
    """Diagnose the environment; nothing heavy is imported, and no plugin can make it fail."""
    yield Section("system", tuple(_system()), required=True)
    yield Section("packages", tuple(_packages("")), required=True)
    for extra in _extras():
        yield Section(f"extra {extra}", tuple(_packages(extra)))
    yield Section("formats", tuple(_of_formats(registry)))
    yield Section("clients", tuple(_clients(registry)))
    yield Section("drivers", tuple(_drivers()))
    yield Section("plugins", tuple(_plugins(registry)))
    yield Section("machine", tuple(_machine()))


def _system() -> Iterator[Diagnosis]:
    yield Diagnosis("calve", "ok", importlib.metadata.version("calve"))
    yield Diagnosis("Python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield Diagnosis("platform", "ok", platform_name())


def _extras() -> list[str]:
    names = importlib.metadata.metadata("calve").get_all("Provides-Extra") or []
    return [name for name in names if name not in _DEVELOPER_EXTRAS]


def _packages(extra: str) -> Iterator[Diagnosis]:
    """Diagnose the packages that calve or one of its extras requires."""
    for text in importlib.metadata.requires("calve") or ():
        requirement = Requirement(text)
        if requirement.name == "calve":
            continue
        marker = requirement.marker
        applies = marker is None or marker.evaluate({"extra": extra})
        # Packages of the base installation are not part of an extra.
        added = not extra or (marker is not None and not marker.evaluate({"extra": ""}))
        if applies and added:
            yield _package(requirement, extra)


def _package(requirement: Requirement, extra: str) -> Diagnosis:
    install = f"pip install '{requirement.name}{requirement.specifier}'"
    if extra:
        install = f"pip install 'calve[{extra}]'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(requirement.name, "missing", "not installed", install)
    if not requirement.specifier.contains(version, prereleases=True):
        detail = f"{version}; calve needs {requirement.specifier}"
        return Diagnosis(requirement.name, "warn", detail, install)
    return Diagnosis(requirement.name, "ok", version)


def _of_formats(registry: Registry) -> Iterator[Diagnosis]:
    """Collect the diagnoses of the plugins of formats."""
    for exporter in registry.exporters:
        if exporter.doctor is None:
            continue
        try:
            yield from tuple(exporter.doctor.load()())
        # A plugin may fail in any way; the others are still asked.
        except Exception as error:
            name = registry.exporters.source(exporter.format).name
            fix = f"calve plugins check {name}"
            yield Diagnosis(f"format {exporter.format}", "warn", describe(error), fix)


def _clients(registry: Registry) -> Iterator[Diagnosis]:
    for exporter in registry.exporters:
        for client in exporter.clients:
            opens = f"opens {exporter.format} bundles"
            if client.is_installed:
                yield Diagnosis(client.name, "ok", opens)
            else:
                fix = f"pip install 'calve[{client.extra}]'"
                yield Diagnosis(client.name, "missing", f"not installed; it {opens}", fix)


_LOAD_DRIVERS = """
import json, sys
from calve.errors import PluginError
from calve.common.exceptions import describe
from calve.registry.discovery import load_driver
results = open(sys.argv[1], "w")
for namespace, name in json.loads(sys.argv[2]):
    try:
        load_driver(namespace, name)
        found = {"error": None, "fix": None}
    except PluginError as error:
        found = {"error": describe(error.__cause__ or error), "fix": error.fix}
    print(json.dumps(found), file=results, flush=True)
"""


def _drivers() -> Iterator[Diagnosis]:
    """Diagnose the drivers, all imported in one child process."""
    drivers = [
        (namespace, name) for namespace in DRIVER_NAMESPACES for name in driver_names(namespace)
    ]
    outcome, results = _load_in_child(drivers)
    for index, (namespace, name) in enumerate(drivers):
        subject = f"{DRIVER_NAMESPACES[namespace]} {name}"
        if index < len(results):
            yield _driver(subject, results[index])
        elif index == len(results):
            detail = f"importing it {outcome.failure or 'ended the process'}"
            yield Diagnosis(subject, "warn", detail, "reinstall the package that it needs")
        else:
            yield Diagnosis(subject, "warn", "not tried: the driver above ended the process")


def _load_in_child(
    drivers: list[tuple[str, str]],
) -> tuple[Outcome, list[dict[str, str | None]]]:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        child = Child(
            name="drivers",
            command=(sys.executable, "-c", _LOAD_DRIVERS, str(results), json.dumps(drivers)),
            folder=Path(folder),
            time_limit=_SECONDS_FOR_DRIVERS,
        )
        (outcome,) = run_children([child])
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return outcome, [json.loads(line) for line in lines]


def _driver(subject: str, result: Mapping[str, str | None]) -> Diagnosis:
    error = result["error"]
    if error is None:
        return Diagnosis(subject, "ok", "loads")
    return Diagnosis(subject, "missing", error, result["fix"])


def _plugins(registry: Registry) -> Iterator[Diagnosis]:
    for report in reports(registry):
        subject = f"{report.source.name} ({report.source.distribution} {report.source.version})"
        if not report.problems:
            yield Diagnosis(subject, "ok", "disabled" if report.status == "disabled" else "loads")
        for problem in report.problems:
            fix = f"calve plugins info {report.source.name}"
            yield Diagnosis(subject, "warn", f"{problem.stage}: {problem.cause}", fix)


def _machine() -> Iterator[Diagnosis]:
    usable, total = usable_cpus()
    yield Diagnosis("CPUs", "ok", f"{usable} of {total} are usable")
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads:
        yield Diagnosis("OMP_NUM_THREADS", "ok", threads)
    features = cpu_features()
    shown = "unknown" if features is None else ", ".join(features) or "none of those that help"
    yield Diagnosis("CPU features", "ok", shown)
    yield _space(
        "memory", available_memory(), _LEAST_MEMORY, "close other programs, or use a larger machine"
    )
    yield _space("disk here", free_space(Path()), _LEAST_DISK, "free some space")
    temporary = tempfile.gettempdir()
    yield _space(
        temporary, free_space(temporary), _LEAST_DISK, "free some space, or set TMPDIR to another"
    )
    shared = "/dev/shm"
    fix = "docker run --shm-size=2g, or calve train --num-workers 0"
    yield _space(shared, free_space(shared), _LEAST_SHARED, fix)


def _space(subject: str, found: tuple[int, int] | None, least: int, fix: str) -> Diagnosis:
    if found is None:
        return Diagnosis(subject, "ok", "unknown on this system")
    free, total = found
    detail = f"{size_text(free)} free of {size_text(total)}"
    if free < least:
        return Diagnosis(subject, "warn", f"{detail}; {size_text(least)} are advisable", fix)
    return Diagnosis(subject, "ok", detail)
