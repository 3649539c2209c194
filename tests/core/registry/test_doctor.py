"""The state of an environment: what is there, what is missing, and what to do."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from calve.api import ClientSpec, ExporterSpec, LazyRef, hookimpl
from calve.common.diagnosis import Diagnosis
from calve.registry import doctor
from calve.registry.catalog import Registry
from calve.registry.discovery import Discovery
from calve.registry.host import Host
from calve.registry.plugin_sources import PluginSource

SOURCE = PluginSource("acme", "acme.plugin", "acme", "1.0")
NOTHING = LazyRef("os:getcwd")


def test_an_installed_package_is_its_version() -> None:
    found = doctor._package(Requirement("pytest>=1"), "")
    assert found == Diagnosis("pytest", "ok", importlib.metadata.version("pytest"))


def test_a_package_that_is_too_old_is_a_warning_with_the_version_that_is_needed() -> None:
    found = doctor._package(Requirement("pytest>=999"), "")
    assert (found.outcome, found.fix) == ("warn", "pip install 'pytest>=999'")
    assert "calve needs >=999" in found.detail


def test_a_missing_package_is_installed_by_its_extra() -> None:
    found = doctor._package(Requirement("no-such-package-for-calve>=1"), "onnx")
    assert found.outcome == "missing"
    assert found.fix == "pip install 'calve[onnx]'"


def test_an_extra_has_only_what_it_adds() -> None:
    base = {one.subject for one in doctor._packages("")}
    onnx = {one.subject for one in doctor._packages("onnx")}
    assert {"torch", "ncnn", "click"} <= base
    assert onnx == {"onnx", "onnxruntime"}


def _registry(monkeypatch: pytest.MonkeyPatch, **fields: object) -> Registry:
    """A registry of one format."""
    module = ModuleType("acme_format")

    @hookimpl
    def calve_register_exporters() -> Iterator[ExporterSpec]:
        yield ExporterSpec(
            *("acme", "summary", NOTHING, (), "acme", NOTHING, None),
            **fields,  # type: ignore[arg-type]
        )

    module.calve_register_exporters = calve_register_exporters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "acme_format", module)
    return Registry(Host(Discovery({SOURCE: module}, (), ())))


def _with_doctor(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> list[Diagnosis]:
    registry = _registry(monkeypatch, doctor=LazyRef("acme_format:run"))
    monkeypatch.setattr(sys.modules["acme_format"], "run", run, raising=False)
    return list(doctor._of_formats(registry))


def test_a_format_adds_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Diagnosis("acme", "warn", "an old release", "update it")
    assert _with_doctor(monkeypatch, lambda: [known]) == [known]


def test_a_format_whose_check_fails_is_a_warning_that_names_its_plugin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (found,) = _with_doctor(monkeypatch, lambda: 1 / 0)
    assert found.outcome == "warn"
    assert "ZeroDivisionError" in found.detail
    assert found.fix == "calve plugins check acme"


@pytest.mark.parametrize(("module", "outcome"), [("json", "ok"), ("no_such_module_x", "missing")])
def test_a_client_is_there_if_its_module_is(
    monkeypatch: pytest.MonkeyPatch, module: str, outcome: str
) -> None:
    registry = _registry(monkeypatch, clients=(ClientSpec("c", module, "acme", NOTHING),))
    (found,) = doctor._clients(registry)
    assert (found.subject, found.outcome) == ("c", outcome)
    assert "acme bundles" in found.detail
    assert found.fix == (None if outcome == "ok" else "pip install 'calve[acme]'")


def _install_drivers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, modules: dict[str, str]
) -> None:
    """A distribution that provides a runtime for each module, for this process and its children."""
    info = folder / "acme_drivers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: acme-drivers\nVersion: 1\n")
    lines = [f"{name} = acme_{name}:Runtime" for name in modules]
    (info / "entry_points.txt").write_text("\n".join(["[calve.runtimes]", *lines, ""]))
    for name, text in modules.items():
        (folder / f"acme_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(doctor, "DRIVER_NAMESPACES", {"calve.runtimes": "runtime"})


def test_drivers_are_imported_elsewhere_and_say_what_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"aaa_good": "class Runtime: pass\n", "aab_bad": "import no_such_module_for_calve\n"}
    _install_drivers(tmp_path, monkeypatch, modules)
    found = {one.subject: one for one in doctor._drivers()}
    assert found["runtime aaa_good"].outcome == "ok"
    bad = found["runtime aab_bad"]
    assert bad.outcome == "missing"
    assert "no_such_module_for_calve" in bad.detail
    assert bad.fix is not None
    assert "acme_aaa_good" not in sys.modules


def test_a_driver_that_ends_the_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {"aaa_good": "class Runtime: pass\n", "aab_fatal": "import os\nos._exit(5)\n"}
    _install_drivers(tmp_path, monkeypatch, modules)
    found = list(doctor._drivers())
    outcomes = {one.subject: one.outcome for one in found}
    assert outcomes["runtime aaa_good"] == "ok"
    assert outcomes["runtime aab_fatal"] == "warn"
    (fatal,) = [one for one in found if one.subject == "runtime aab_fatal"]
    assert "exited with code 5" in fatal.detail
    assert all("not tried" in one.detail for one in found[found.index(fatal) + 1 :])


def test_little_shared_memory_is_a_warning_with_the_cure_for_containers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "free_space", lambda path: (64 << 20, 64 << 20))
    found = {one.subject: one for one in doctor._machine()}
    assert found["/dev/shm"].outcome == "warn"
    assert "--shm-size" in (found["/dev/shm"].fix or "")
    assert found["disk here"].outcome == "warn"


def test_what_the_system_does_not_tell_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_space", lambda path: None)
    monkeypatch.setattr(doctor, "available_memory", lambda: None)
    monkeypatch.setattr(doctor, "cpu_features", lambda: None)
    assert {one.outcome for one in doctor._machine()} == {"ok"}
