"""Aligning texts of any length."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaldialign import edit_distance

from calve.scoring import alignment
from calve.scoring.alignment import align

TEXTS = st.lists(st.sampled_from("abcd"), max_size=40)


def errors(pairs: list[tuple[str | None, str | None]]) -> int:
    return sum(left != right for left, right in pairs)


@pytest.fixture
def small_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "_MAX_CELLS", 12)


@given(reference=TEXTS, hypothesis=TEXTS)
def test_a_text_that_is_split_has_the_fewest_errors(reference: list[str], hypothesis: list[str]):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(alignment, "_MAX_CELLS", 12)
        pairs = align(reference, hypothesis)
    assert [left for left, _ in pairs if left is not None] == reference
    assert [right for _, right in pairs if right is not None] == hypothesis
    assert errors(pairs) == edit_distance(reference, hypothesis)["total"]


@pytest.mark.usefixtures("small_matrix")
@pytest.mark.parametrize("sizes", [(40, 0), (0, 40), (40, 1), (1, 40)])
def test_texts_of_very_different_lengths_are_split(sizes: tuple[int, int]):
    reference, hypothesis = (["a"] * size for size in sizes)
    pairs = align(reference, hypothesis)
    assert len(pairs) == max(sizes)
    assert errors(pairs) == abs(sizes[0] - sizes[1])


_LONG = """
import random, resource
from calve.scoring.alignment import align
drawn = random.Random(0)
reference = [str(drawn.randrange(500)) for _ in range(12_000)]
hypothesis = [word for word in reference if drawn.random() > 0.1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = align(reference, hypothesis)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(left != right for left, right in pairs) - len(reference) + len(hypothesis))
print(after - before)
"""


def test_long_texts_need_little_memory():
    """In a process of its own, since the matrix is not Python's."""
    child = subprocess.run(
        [sys.executable, "-c", _LONG], capture_output=True, text=True, check=True
    )
    excess, kibibytes = map(int, child.stdout.split())
    assert excess == 0
    # The whole matrix would have 130 million cells of 4 bytes.
    assert kibibytes < 60_000
