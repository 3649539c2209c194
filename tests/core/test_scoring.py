"""Word error rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.scoring import ErrorCounts, count_errors, total_errors

WORDS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "substitutions", "insertions", "deletions"),
    [
        ("one two three", "one two three", 0, 0, 0),
        ("one two three", "one four three", 1, 0, 0),
        ("one two three", "one three", 0, 0, 1),
        ("one two three", "one two two three", 0, 1, 0),
        ("one two three", "", 0, 0, 3),
        ("", "one two", 0, 2, 0),
        ("", "", 0, 0, 0),
        ("  one\ttwo ", "one two", 0, 0, 0),
    ],
)
def test_errors_are_counted_by_kind(
    reference: str, hypothesis: str, substitutions: int, insertions: int, deletions: int
):
    counts = count_errors(reference, hypothesis)
    assert counts.substitutions == substitutions
    assert counts.insertions == insertions
    assert counts.deletions == deletions
    assert counts.reference_words == len(reference.split())
    assert counts.wrong_utterances == (counts.errors > 0)


@given(pairs=st.lists(st.tuples(WORDS, WORDS), max_size=8))
def test_a_total_is_the_sum_over_utterances(pairs: list[tuple[str, str]]):
    total = total_errors(pairs)
    counts = [count_errors(*pair) for pair in pairs]
    assert total.utterances == len(pairs)
    assert total.errors == sum(one.errors for one in counts)
    assert total.wrong_utterances == sum(one.errors > 0 for one in counts)


@given(reference=WORDS, hypothesis=WORDS)
def test_the_lengths_of_both_texts_agree_with_the_counts(reference: str, hypothesis: str):
    counts = count_errors(reference, hypothesis)
    longer = counts.insertions - counts.deletions
    assert len(hypothesis.split()) == counts.reference_words + longer


def test_wer_is_errors_per_hundred_reference_words():
    assert total_errors([("one two three four", "one"), ("five", "five six")]).wer == 80.0


def test_wer_is_unknown_without_reference_words():
    assert total_errors([("", "one")]).wer is None
    assert ErrorCounts().wer is None
