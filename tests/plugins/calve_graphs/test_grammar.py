from __future__ import annotations

import pytest

from calve.api import DataError
from calve_graphs.grammar import grammar_fst


def test_text_becomes_arcs_and_final_states() -> None:
    fst = grammar_fst("2 0 5 5 0.5\n0 1 6 6\n1 0.25\n\n0\n")
    assert (fst.start, fst.num_states) == (2, 3)
    assert fst.final(1).value == pytest.approx(0.25)
    assert fst.final(0).value == 0
    assert (fst.num_arcs(2), fst.num_arcs(0), fst.num_arcs(1)) == (1, 1, 0)


@pytest.mark.parametrize("line", ["0 1 5", "0 1 five 5 0.5", "0 1 5 5 nan", "0 1 5 5 1 2", "0 x"])
def test_malformed_line_is_named(line: str) -> None:
    with pytest.raises(DataError, match="line 2"):
        grammar_fst(f"1 0 5 5 0.5\n{line}\n")
