"""Files of decoding graphs that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve_graphs.graph import FINAL_LABEL, DecodingGraph

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A graph of three states: "a" and "b b", each an arc to state 1, which is left at no cost."""
    graph = DecodingGraph.from_arcs(
        np.array([0, 0, 1]),
        np.array([1, 1, 2]),
        np.array([1, 2, FINAL_LABEL]),
        np.array([-0.5, -0.7, 0.0]),
        [(1,), (2, 2), ()],
        words=SymbolTable(("<eps>", "a", "b")),
    )
    graph.write(tmp_path / "LG.npz")
    return tmp_path / "LG.npz"


def changed(path: Path, change: Callable[[Arrays], None]) -> Path:
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    return path


def test_an_untouched_graph_is_read(written: Path) -> None:
    assert DecodingGraph.read(changed(written, lambda arrays: None)).num_arcs == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("arc_splits", []),
        ("arc_splits", [0, 2, 4, 4]),
        ("arc_splits", [0, 3, 2, 3]),
        ("arc_splits", [1, 2, 3, 3]),
        ("arc_splits", [0, 2, 2147483647, 3]),
        ("destination", [1, 1]),
        ("destination", [1, 1, 3]),
        ("destination", [-1, 1, 2]),
        ("destination", [2, 1, 2]),
        ("label", [1, 2]),
        ("label", []),
        ("label", [0, 2, -1]),
        ("label", [1, 2, -2]),
        ("label", [1, 2, 3]),
        ("score", [0.0]),
        ("score", [0.0, float("nan"), 0.0]),
        ("score", [0.0, float("-inf"), 0.0]),
        ("word_splits", []),
        ("word_splits", [0, 1, 3, 4]),
        ("word_splits", [0, 2, 1, 3]),
        ("word_ids", [1, 2]),
        ("word_ids", [1, 2, 3]),
        ("word_ids", [1, 2, -1]),
    ],
)
def test_arrays_that_are_no_graph_are_refused(
    written: Path, name: str, values: list[float]
) -> None:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.array(values, dtype=arrays[name].dtype)

    with pytest.raises(DataError, match=r"no decoding graph[\s\S]*LG\.npz"):
        DecodingGraph.read(changed(written, change))


@pytest.mark.parametrize("name", ["arc_splits", "label", "score", "word_splits", "word_ids"])
@pytest.mark.parametrize("dtype", ["float64", "uint8", "complex64", "S4", "U2", "bool"])
def test_arrays_of_another_type_are_refused(written: Path, name: str, dtype: str) -> None:
    with pytest.raises(DataError, match=f"the array {name} is"):
        DecodingGraph.read(
            changed(written, lambda arrays: arrays.update({name: arrays[name].astype(dtype)}))
        )


def test_words_that_are_missing_from_the_table_are_refused(written: Path) -> None:
    shorter = np.frombuffer(b"<eps>\na", dtype=np.uint8)
    with pytest.raises(DataError, match="words are in their table"):
        DecodingGraph.read(changed(written, lambda arrays: arrays.update(words=shorter)))
