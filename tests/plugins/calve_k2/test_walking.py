"""Fast beam search on k2, in k2's own environment, and the choice of it by name."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest
import torch

from calve.api import PluginError
from calve.discovery import load_driver
from calve_graphs.graph import trivial_graph
from calve_transducer.searches.lattice import Lattice, best_path

CHILD = Path(__file__).with_name("fast_beam_child.py")
RECIPES = ("lstm_transducer_stateless2", "pruned_transducer_stateless5")


def module_path() -> str:
    spec = importlib.util.find_spec("calve_k2.walking")
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


@pytest.mark.parametrize("recipe", RECIPES)
def test_k2_finds_chunk_by_chunk_what_icefall_finds(
    k2_python: Path, goldens: Path, tmp_path: Path, recipe: str
) -> None:
    golden_path, output = goldens / f"{recipe}.decoding.pt", tmp_path / "lattices.pt"
    command = [str(k2_python), str(CHILD), module_path(), str(golden_path), str(output)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    golden = torch.load(golden_path, weights_only=True)
    graph = trivial_graph(golden["vocab_size"])
    found = torch.load(output, weights_only=True)
    for lattices, case in zip(found, golden["fast_beam_search_trivial"], strict=True):
        for utterance, (*columns, num_states) in enumerate(lattices):
            lattice = Lattice(*(column.numpy() for column in columns), num_states)
            best = best_path(lattice)
            assert best is not None
            path, score = best
            arcs = lattice.graph_arc[path]
            labels = [0 if arc < 0 else max(int(graph.label[arc]), 0) for arc in arcs]
            frames = [frame for frame, label in enumerate(labels) if label]
            assert [labels[frame] for frame in frames] == case["hyps"][utterance]
            assert frames == case["timestamps"][utterance]
            assert score == pytest.approx(case["best_path"][utterance]["total"], abs=1e-3)


def test_without_k2_the_driver_says_what_is_missing() -> None:
    if importlib.util.find_spec("k2") is not None:
        pytest.skip("k2 is installed here")
    with pytest.raises(PluginError, match="No module named 'k2'"):
        load_driver("calve.fsa_backends", "k2")
