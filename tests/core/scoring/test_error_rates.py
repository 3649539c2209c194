"""Error rates, alignments and what is confused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.errors import DataError
from calve.scoring.error_rates import (
    DecodedUtterance,
    ErrorCounts,
    count_errors,
    probability_of_improvement,
    score,
    total_errors,
)

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


def decoded(*pairs: tuple[str, str]) -> list[DecodedUtterance]:
    return [DecodedUtterance(f"u{i}", *pair) for i, pair in enumerate(pairs)]


def test_an_alignment_pairs_every_word_with_what_became_of_it():
    (alignment,) = score(decoded(("one two three", "one four three five"))).alignments
    assert alignment.name == "u0"
    assert alignment.pairs == (("one", "one"), ("two", "four"), ("three", "three"), (None, "five"))
    (missing,) = score(decoded(("* two", "*"))).alignments
    assert missing.pairs == (("*", "*"), ("two", None))


@given(pairs=st.lists(st.tuples(WORDS, WORDS), max_size=8))
def test_a_score_counts_what_its_alignments_show(pairs: list[tuple[str, str]]):
    found = score(decoded(*pairs))
    assert found.counts == total_errors(pairs)
    classes = found.classes
    assert classes.substitutions.total() == found.counts.substitutions
    assert classes.deletions.total() == found.counts.deletions
    assert classes.insertions.total() == found.counts.insertions
    hits = found.counts.reference_words - found.counts.substitutions - found.counts.deletions
    assert classes.correct.total() == hits
    for (reference, hypothesis), alignment in zip(pairs, found.alignments, strict=True):
        assert [r for r, _ in alignment.pairs if r is not None] == reference.split()
        assert [h for _, h in alignment.pairs if h is not None] == hypothesis.split()


def test_errors_are_classed_by_what_was_confused():
    found = score(decoded(("a b c", "a x c"), ("b c", "x c d"), ("c", "")))
    assert found.classes.substitutions == {("b", "x"): 2}
    assert found.classes.deletions == {"c": 1}
    assert found.classes.insertions == {"d": 1}
    assert found.classes.correct == {"a": 1, "c": 2}


def test_characters_are_counted_without_the_spaces_between_words():
    found = score(decoded(("ab cd", "abcx")), "character")
    assert found.counts == ErrorCounts(1, 0, 0, 4, 1, 1)
    assert found.counts.wer == 25.0


def test_the_interval_holds_the_rate_and_narrows_with_more_utterances():
    pairs = [("one two three four", "one two three four"), ("one two three four", "one two x four")]
    few, many = score(decoded(*pairs * 8)), score(decoded(*pairs * 200))
    for found in (few, many):
        assert found.interval is not None
        low, high = found.interval
        assert 0 <= low < 12.5 < high
    # The standard error of the mean of n draws of 0 or 1 errors in 4 words.
    assert few.interval[1] - 12.5 == pytest.approx(1.96 * 12.5 / 16**0.5, rel=0.05)
    assert many.interval[1] - 12.5 == pytest.approx(1.96 * 12.5 / 400**0.5, rel=0.05)


def test_the_interval_is_the_same_every_time_and_does_not_go_below_zero():
    pairs = decoded(*[("one two", "one two")] * 9, ("one two", "one"))
    assert score(pairs).interval == score(pairs).interval
    assert score(pairs).interval[0] == 0.0
    assert score(decoded(("one", "one"))).interval == (0.0, 0.0)


@pytest.mark.parametrize("pairs", [[], [("", "one")], [("", "")]])
def test_there_is_no_interval_without_reference_words(pairs: list[tuple[str, str]]):
    assert score(decoded(*pairs)).interval is None
    assert probability_of_improvement(score(decoded(*pairs)), score(decoded(*pairs))) is None


def test_an_improvement_is_probable_where_it_is_consistent():
    references = ["one two three"] * 50
    bad = score(decoded(*((text, "one two x") for text in references)))
    good = score(decoded(*((text, text) for text in references)))
    assert probability_of_improvement(bad, good) == 1.0
    assert probability_of_improvement(good, bad) == 0.0
    with pytest.raises(DataError, match="same utterances"):
        probability_of_improvement(bad, score(decoded(("one", "one"))))


@pytest.mark.parametrize("unit", ["word", "char"])
def test_texts_in_different_normal_forms_are_equal(unit: str):
    utterance = DecodedUtterance("a", "e\u0301te\u0301 \u1100\u1161", "\u00e9t\u00e9 \uac00")
    counts = score([utterance], unit).counts
    assert (counts.errors, counts.reference_words) == (0, 2 if unit == "word" else 4)
