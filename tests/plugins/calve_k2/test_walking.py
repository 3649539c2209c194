"""The drivers that walk on k2, where there is no k2.

What they find where there is one is tested with the fast beam searches and by the conformance kit.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calve.api import CalveError, ConfigError, PluginError
from calve.protocols import FsaBackend
from calve.registry.discovery import load_driver
from calve_graphs.graph import trivial_graph


def elsewhere(python: object, monkeypatch: pytest.MonkeyPatch) -> FsaBackend:
    monkeypatch.setenv("CALVE_K2_PYTHON", str(python))
    graph = trivial_graph(4)
    backend: FsaBackend = load_driver("calve.fsa_backends", "k2-elsewhere")(
        *(graph.arc_splits, graph.destination, graph.label, graph.score),
        **{"vocab_size": 4, "context_size": 2, "beam": 20.0, "max_contexts": 8, "max_states": 64},
    )
    return backend


def test_without_k2_the_driver_says_what_is_missing() -> None:
    if importlib.util.find_spec("k2") is not None:
        pytest.skip("k2 is installed here")
    with pytest.raises(PluginError, match="No module named 'k2'"):
        load_driver("calve.fsa_backends", "k2")


def test_a_python_without_k2_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("k2") is not None:
        pytest.skip("k2 is installed here")
    with pytest.raises(CalveError, match="No module named 'k2'") as raised:
        elsewhere(sys.executable, monkeypatch)
    assert "k2==1.23.2" in str(raised.value.fix)
    assert raised.value.where == sys.executable


@pytest.mark.parametrize("python", ["", "no/such/python"])
def test_no_python_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    with pytest.raises(ConfigError, match=f"CALVE_K2_PYTHON is '{python}'"):
        elsewhere(python, monkeypatch)


def test_what_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    with pytest.raises(ConfigError, match="CALVE_K2_PYTHON cannot be run: Permission denied"):
        elsewhere(tmp_path / "python", monkeypatch)


def advance(backend: FsaBackend, streams: list[Any]) -> None:
    walk = backend.walk(streams)
    owners, _ = walk.contexts(np.arange(len(streams)))
    walk.advance(np.zeros((len(owners), 4), np.float32))
    walk.finish()


def test_if_k2_dies_that_is_an_error_and_the_next_search_has_a_new_one(
    k2_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = elsewhere(k2_python, monkeypatch)
    os.kill(backend._child._process.pid, signal.SIGKILL)
    with pytest.raises(CalveError, match="k2 ended: exit code -9"):
        advance(backend, [backend.start()])
    backend = elsewhere(k2_python, monkeypatch)
    advance(backend, [backend.start()])


def test_what_the_child_refuses_is_an_error_and_it_goes_on(
    k2_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = elsewhere(k2_python, monkeypatch)
    streams = [backend.start(), backend.start()]
    walk = backend.walk(streams)
    for active in ([0, 1], [1]):
        owners, _ = walk.contexts(np.array(active))
        walk.advance(np.zeros((len(owners), 4), np.float32))
    for use in (
        lambda: backend.walk(streams),
        lambda: backend.lattice(streams[0], allow_partial=False),
    ):
        with pytest.raises(
            CalveError, match=r"k2 failed: RuntimeError: a walk .* was not finished"
        ):
            use()
    advance(backend, [backend.start()])
