from __future__ import annotations

import math

import numpy as np
import pytest

from calve_transducer.searches.scores import add_log, log_probabilities, take_best


@pytest.mark.parametrize("count", [1, 3, 8, 9, 30])
def test_the_best_scores_of_each_row_come_in_order(count: int):
    scores = np.random.default_rng(count).normal(size=(5, 30)).astype(np.float32)
    values, places = take_best(scores.copy(), count)
    expected = np.argsort(-scores, axis=1)[:, :count]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, 1))


@pytest.mark.parametrize("count", [2, 12])
def test_nan_is_among_the_best(count: int):
    scores = np.zeros((1, 20), dtype=np.float32)
    scores[0, 7] = np.nan
    values, _ = take_best(scores, count)
    assert np.isnan(values).any()


def test_penalty_comes_before_temperature():
    logits = np.array([[1.0, 2.0, -1.0]], dtype=np.float32)
    found = log_probabilities(logits.copy(), blank_id=0, blank_penalty=0.5, temperature=2.0)
    changed = (logits.astype(np.float64) - [0.5, 0, 0]) / 2.0
    np.testing.assert_allclose(found, changed - np.logaddexp.reduce(changed[0]), rtol=1e-6)


def test_logarithms_of_sums_neither_overflow_nor_vanish():
    assert add_log(-1000.0, -1000.0) == pytest.approx(-1000.0 + math.log(2))
    assert add_log(-1.0, -math.inf) == -1.0
    assert add_log(-2000.0, 0.0) == 0.0
