from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from invoking import invoke

from calve.api import CalveError, PluginError
from calve_bench.commands import bench_search
from calve_bench.fsas import benchmark_fsa_backends
from calve_transducer.searches import fast_beam
from calve_transducer.searches.walking import GraphWalker


class Elsewhere(GraphWalker):
    """Says that it took ten seconds for each lattice, in another process."""

    def __init__(self, *graph: Any, **limits: Any) -> None:
        super().__init__(*graph, **limits)
        self.seconds = 100.0

    def lattice(self, stream: Any, *, allow_partial: bool) -> Any:
        self.seconds += 10.0
        return super().lattice(stream, allow_partial=allow_partial)


class Hasty(GraphWalker):
    """Follows nothing but what is best at every frame."""

    def __init__(self, *graph: Any, **limits: Any) -> None:
        super().__init__(*graph, **{**limits, "max_states": 1})


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both classes as drivers of their names."""
    own = fast_beam.load_driver
    classes = {"elsewhere": Elsewhere, "hasty": Hasty}
    monkeypatch.setattr(
        fast_beam, "load_driver", lambda space, name: classes.get(name) or own(space, name)
    )


def test_both_backends_are_measured_in_the_same_turns():
    threads = torch.get_num_threads()
    ours, theirs = benchmark_fsa_backends("calve", "calve", [2], runs=2)
    for row in (ours, theirs):
        assert (row.backend, row.utterances) == ("calve", 2)
        assert 0 < row.milliseconds < row.outside
        assert row.ratio < row.outside_ratio
    assert theirs.ratio == 1.0
    assert torch.get_num_threads() == threads


def test_of_a_backend_in_another_process_counts_what_it_took_there(drivers: None):
    ours, theirs = benchmark_fsa_backends("calve", "elsewhere", [2], runs=1)
    assert theirs.milliseconds == pytest.approx(20_000)
    assert 20_000 < theirs.outside < 22_000
    assert ours.ratio == pytest.approx(ours.milliseconds / 20_000)
    assert ours.outside_ratio == pytest.approx(ours.outside / 20_000)


def test_a_backend_that_finds_other_tokens_is_an_error(drivers: None):
    with pytest.raises(CalveError, match="hasty") as raised:
        benchmark_fsa_backends("calve", "hasty", [2], runs=1)
    assert str(raised.value.where).startswith("utterance ")


def test_an_unknown_backend_is_an_error():
    with pytest.raises(PluginError, match="no driver 'k3'"):
        benchmark_fsa_backends("calve", "k3", [1])


@pytest.mark.slow
def test_calves_own_walker_takes_no_more_than_twice_as_long_as_k2s(
    k2_python: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CALVE_K2_PYTHON", str(k2_python))
    arguments = ["--decoding-method", "fast_beam_search", "--utterances", "4", "--runs", "2"]
    result = invoke(bench_search, [*arguments, "--against", "k2-elsewhere", "--json"])
    assert result.exit_code == 0, result.output
    ours, theirs = json.loads(result.stdout)["fsa_rows"]
    assert (ours["backend"], theirs["backend"]) == ("calve", "k2-elsewhere")
    assert ours["outside_ratio"] < 2
    assert theirs["ratio"] == 1.0
