"""Suggestions for misspelled names."""

from __future__ import annotations

from calve.common.suggest import did_you_mean


def test_the_closest_names_come_first():
    known = ["ncnn", "onnx", "greedy_search", "beam_search"]
    assert did_you_mean("gredy_search", known) == ("did you mean 'greedy_search' or 'beam_search'?")


def test_at_most_three_names_are_suggested():
    suggestion = did_you_mean("epoch", [f"epoch{number}" for number in range(9)])
    assert suggestion is not None
    assert suggestion.count("'epoch") == 3


def test_a_name_like_no_other_has_no_suggestion():
    assert did_you_mean("zzz", ["ncnn", "onnx"]) is None
    assert did_you_mean("x", []) is None
