"""The three rules that end an utterance."""

from __future__ import annotations

import pytest

from calve.decoding.endpointing import EndpointRules
from calve.errors import ConfigError

RULES = EndpointRules(
    rule1_min_trailing_silence=3.0, rule2_min_trailing_silence=1.0, rule3_min_utterance_length=10.0
)


@pytest.mark.parametrize(
    ("length", "trailing_silence", "rule"),
    [
        (2.9, None, None),
        (3.0, None, 1),
        (5.0, 0.9, None),
        (5.0, 1.0, 2),
        (5.0, 3.0, 1),
        (9.9, 0.0, None),
        (10.0, 0.0, 3),
        (10.0, 1.0, 2),
    ],
)
def test_the_first_rule_that_holds_ends_the_utterance(
    length: float, trailing_silence: float | None, rule: int | None
):
    assert RULES.rule(length, trailing_silence) == rule


def test_the_defaults_are_those_of_sherpa_onnx():
    rules = EndpointRules()
    assert rules.rule1_min_trailing_silence == 2.4
    assert rules.rule2_min_trailing_silence == 1.2
    assert rules.rule3_min_utterance_length == 20.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_is_not_positive_is_refused(seconds: float):
    with pytest.raises(ConfigError, match="rule2_min_trailing_silence"):
        EndpointRules(rule2_min_trailing_silence=seconds)
