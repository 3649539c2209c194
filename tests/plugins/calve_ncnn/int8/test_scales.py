from __future__ import annotations

import math

import ncnn
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calve_ncnn.int8.scales import BINS, METHODS, choose_threshold, to_int8, weight_scales
from calve_ncnn.param import Layer


@given(
    arrays(np.float32, (3, 7), elements=st.floats(-300, 300, width=32)),
    arrays(np.float32, 3, elements=st.floats(0.125, 4, width=32)),
)
def test_rounding_is_that_of_ncnn(values: np.ndarray, scales: np.ndarray) -> None:
    quantized = ncnn.Mat()
    ncnn.quantize_to_int8(ncnn.Mat(values), quantized, ncnn.Mat(scales), ncnn.Option())
    expected = np.array(quantized).reshape(values.shape)
    np.testing.assert_array_equal(to_int8(values, scales), expected)


def test_halves_are_rounded_away_from_zero_and_the_rest_saturates() -> None:
    values = np.float32([0.5, -0.5, 1.5, 2.5, 126.5, 127.4, 1000, -1000, 0])
    expected = [1, -1, 2, 3, 127, 127, 127, -127, 0]
    assert to_int8(values, np.float32([1])).tolist() == expected


@pytest.mark.parametrize("shape", [(1, 700_001), (1_500, 333), (3, 2, 5)])
def test_blocks_leave_no_seam(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).uniform(-100, 100, shape).astype(np.float32)
    expected = np.trunc(values + np.copysign(np.float32(0.5), values))
    np.testing.assert_array_equal(to_int8(values, np.ones(shape[0], np.float32)), expected)


def convolution(*parameters: str) -> Layer:
    text = f"Convolution conv 1 1 in0 out0 0=2 5=0 6=18 {' '.join(parameters)}"
    return Layer.parse(text)


@pytest.mark.parametrize(
    ("parameters", "levels"),
    [(("1=3",), 31), (("1=3", "3=2"), 127), (("1=3", "2=2"), 127), (("1=1", "11=9"), 127)],
)
def test_winograd_convolutions_have_six_bits(parameters: tuple[str, ...], levels: int) -> None:
    weights = np.float32([[1.0] * 9, [-4.0] * 9])
    scales = weight_scales(convolution(*parameters), {"weight": weights})
    np.testing.assert_array_equal(scales["_param_0"], np.float32([levels, levels / 4]))


def test_a_row_of_zeros_has_a_finite_scale() -> None:
    layer = Layer.parse("InnerProduct linear 1 1 in0 out0 0=2 1=0 2=4")
    scales = weight_scales(layer, {"weight": np.float32([[0, 0], [0, -2]])})
    np.testing.assert_array_equal(scales["_param_0"], np.float32([1, 63.5]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_scale_is_127_by_the_largest_absolute_value(dtype: type) -> None:
    layer = Layer.parse("InnerProduct linear 1 1 in0 out0 0=40 1=0 2=2000")
    weights = np.random.default_rng(0).normal(0, 3, (40, 50)).astype(dtype)
    expected = np.float32(127) / np.abs(weights.astype(np.float32)).max(axis=1)
    np.testing.assert_array_equal(weight_scales(layer, {"weight": weights})["_param_0"], expected)


def counts_of(values: np.ndarray) -> tuple[np.ndarray, float]:
    absmax = float(np.abs(values).max())
    counts, _ = np.histogram(np.abs(values), BINS, (0, absmax))
    return counts.astype(np.int64), absmax


def long_tailed(seed: int) -> tuple[np.ndarray, float]:
    rng = np.random.default_rng(seed)
    return counts_of(np.concatenate([rng.normal(size=100_000), rng.laplace(0, 3, 300)]))


def kl_by_definition(counts: np.ndarray, threshold: int) -> float:
    """ncnn's divergence, cell by cell: how much of bin k lies in level j decides what it gets."""
    share = counts / counts.sum()
    bins, levels = np.arange(threshold), np.arange(128)
    width = threshold / 128
    overlap = np.minimum.outer(bins + 1, (levels + 1) * width)
    overlap = np.clip(overlap - np.maximum.outer(bins, levels * width), 0, None)
    level = overlap.T @ share[:threshold] / overlap.sum(axis=0)
    levelled = overlap @ level + 1e-4
    clipped = share[:threshold] + 1e-4
    clipped[-1] += share[threshold:].sum()
    return sum(p * math.log(p / q) for p, q in zip(clipped, levelled, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_kl_is_ncnns_definition(seed: int) -> None:
    counts, absmax = long_tailed(seed)
    chosen = choose_threshold(counts, absmax, "kl") * BINS / absmax - 0.5
    assert 128 < chosen < BINS - 1  # the tail is clipped, and not by the first candidate
    divergences = {at: kl_by_definition(counts, at) for at in range(128, BINS, 31)}
    assert kl_by_definition(counts, round(chosen)) <= min(divergences.values()) + 1e-12


def test_kl_keeps_everything_of_an_even_distribution() -> None:
    # Any clipping piles values up at the edge; the last candidate is one bin short of the end.
    assert choose_threshold(np.full(BINS, 10), 1.0, "kl") == pytest.approx((BINS - 0.5) / BINS)


def test_minmax_clips_nothing() -> None:
    counts, absmax = long_tailed(2)
    assert choose_threshold(counts, absmax, "minmax") == absmax


def test_percentile_clips_one_in_ten_thousand() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[10], counts[100], counts[2047] = 9_990, 9, 1
    assert choose_threshold(counts, 20.48, "percentile") == pytest.approx(1.01)


def test_mse_is_the_least_squared_error() -> None:
    counts, absmax = long_tailed(3)
    centers = (np.arange(BINS) + 0.5) * absmax / BINS

    def error(threshold: float) -> float:
        step = threshold / 127
        inside = centers < threshold
        clipping = counts[~inside] @ (centers[~inside] - threshold) ** 2
        return float(counts[inside].sum() * step**2 / 12 + clipping)

    candidates = np.arange(1, BINS + 1) * absmax / BINS
    best = min(candidates, key=error)
    assert choose_threshold(counts, absmax, "mse") == pytest.approx(best)
    assert best < 0.9 * absmax  # the tail is clipped


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bin_", [0, 500, BINS - 1])
def test_a_single_peak_gives_a_usable_threshold(method: str, bin_: int) -> None:
    counts = np.zeros(BINS, np.int64)
    counts[bin_] = 1000
    assert 0 < choose_threshold(counts, 3.0, method) <= 3.0
