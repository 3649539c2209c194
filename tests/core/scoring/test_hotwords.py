"""Counts of hotwords in references and hypotheses."""

from __future__ import annotations

import pytest

from calve.scoring.error_rates import DecodedUtterance
from calve.scoring.hotwords import HotwordCounts, count_hotwords


def _counts(reference: str, hypothesis: str, hotword: str) -> HotwordCounts:
    return count_hotwords([DecodedUtterance("a", reference, hypothesis)], [hotword])[hotword]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "said", "recognized", "false_alarms"),
    [
        ("call john smith now", "call john smith now", 1, 1, 0),
        ("call john smith now", "call john smit now", 1, 0, 0),
        ("call john smith now", "call john uh smith now", 1, 0, 0),
        ("call john now", "call john smith now", 0, 0, 1),
        ("john smith john smith", "john smith john smith", 2, 2, 0),
        ("", "john smith", 0, 0, 1),
    ],
)
def test_a_phrase_counts_only_as_a_whole(
    reference: str, hypothesis: str, said: int, recognized: int, false_alarms: int
):
    counts = _counts(reference, hypothesis, "john smith")
    assert counts == HotwordCounts(said, recognized, false_alarms)


def test_a_word_recognized_elsewhere_is_a_miss_and_a_false_alarm():
    assert _counts("anna came home today", "we came home anna", "anna") == HotwordCounts(1, 0, 1)


def test_counts_add_up_over_the_utterances():
    utterances = [DecodedUtterance("a", "anna", "anna"), DecodedUtterance("b", "anna", "hannah")]
    counts = count_hotwords(utterances, ["anna", "bob"])
    assert counts["anna"] == HotwordCounts(said=2, recognized=1)
    assert counts["anna"].recall == 50.0
    assert counts["bob"].recall is None


def test_a_hotword_in_another_normal_form_is_the_same():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert _counts(composed, decomposed, decomposed) == HotwordCounts(1, 1, 0)
