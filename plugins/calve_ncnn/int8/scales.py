"""Scales: the factors that convert numbers to int8.

A scale is 127 divided by the largest absolute value that shall be kept. For weights that is the
largest there is; for activations it is a choice, since rare large values may be clipped to make
the steps finer for all others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calve_ncnn.int8.layers import int8_weights
from calve_ncnn.param import Layer

__all__ = ["BINS", "METHODS", "choose_threshold", "to_int8", "weight_scales"]

Float32Array = NDArray[np.float32]
Counts = NDArray[np.int64]

LEVELS = 127
"""int8 is used symmetrically: -127 to 127."""

BINS = 2048
"""Bins of an activation histogram, equal, from 0 to the largest absolute value; ncnn's number."""

_BLOCK = 1 << 18


def weight_scales(layer: Layer, weights: dict[str, NDArray[np.generic]]) -> dict[str, Float32Array]:
    """The scales of a layer's int8 weights, by table key.

    Args:
      layer: A layer that has int8 weights.
      weights: Its tensors by name.
    """
    levels = 31 if _has_winograd_kernel(layer) else LEVELS
    scales = {}
    for weight in int8_weights(layer):
        peaks = _peaks(np.asarray(weights[weight.tensor]).reshape(weight.scales, -1))
        # An all-zero slice may have any scale.
        scales[weight.key] = np.divide(
            np.float32(levels), peaks, out=np.ones_like(peaks), where=peaks != 0
        )
    return scales


def _peaks(slices: NDArray[np.generic]) -> Float32Array:
    """(n,) largest absolute value of each slice (n, k), float32 or float16.

    Without their sign bits floats are ordered as integers are, and NumPy compares integers many
    times faster than float16. A NaN is larger than any number.
    """
    integer = np.uint16 if slices.dtype == np.float16 else np.uint32
    magnitudes = slices.view(integer) & (np.iinfo(integer).max >> 1)
    peaks: NDArray[np.generic] = magnitudes.max(axis=1).view(slices.dtype)
    return peaks.astype(np.float32)


def to_int8(values: Float32Array, scales: Float32Array) -> NDArray[np.int8]:
    """Scale, round halves away from zero and saturate, in single precision as ncnn does.

    Args:
      values: Any shape; it is cut into as many equal slices as there are scales.
      scales: (n,) one scale per slice.

    Returns:
      int8 of the shape of ``values``.
    """
    slices = values.reshape(scales.size, -1)
    result = np.empty(slices.shape, np.int8)
    # Blocks that fit a processor's cache are several times faster, and need no memory.
    rows = max(1, _BLOCK // slices.shape[1])
    columns = max(1, min(_BLOCK, slices.shape[1]))
    for top in range(0, slices.shape[0], rows):
        for left in range(0, slices.shape[1], columns):
            block = np.s_[top : top + rows, left : left + columns]
            scaled = slices[block] * scales[top : top + rows, np.newaxis]
            scaled += np.copysign(np.float32(0.5), scaled)
            result[block] = np.clip(scaled, -LEVELS, LEVELS, out=scaled)
    return result.reshape(values.shape)


def choose_threshold(counts: Counts, absmax: float, method: str) -> float:
    """The largest absolute value that int8 shall express.

    Args:
      counts: (BINS,) how many non-zero absolute values fell into each bin.
      absmax: Upper edge of the last bin.
      method: A key of `METHODS`.
    """
    return METHODS[method](counts) * absmax / BINS


def _minmax(counts: Counts) -> float:
    """Nothing is clipped."""
    return float(BINS)


def _percentile(counts: Counts) -> float:
    """The ten-thousandth part of the values is clipped."""
    return float(np.searchsorted(np.cumsum(counts), 0.9999 * counts.sum()) + 1)


def _mse(counts: Counts) -> float:
    """The least mean squared error of rounding (step² / 12) and clipping together."""
    centers = np.arange(BINS) + 0.5
    edges = np.arange(1, BINS + 1)
    inside = np.cumsum(counts)
    above, first, second = (
        np.sum(terms) - np.cumsum(terms)
        for terms in (counts, counts * centers, counts * centers**2)
    )
    rounding = inside * (edges / LEVELS) ** 2 / 12
    clipping = second - 2 * edges * first + edges**2 * above
    return float(edges[np.argmin(rounding + clipping)])


_KL_LEVELS = 128
_KL_FLOOR = 1e-4


def _kl(counts: Counts) -> float:
    """The least Kullback-Leibler divergence, as ncnn defines it.

    For each candidate threshold, the part of the distribution below it (what lies above is added
    to its last bin) is compared with itself averaged within 128 levels. Bins that a level covers in
    part count in part, and 1e-4 is added everywhere so that no probability is zero.
    """
    share = (counts / counts.sum()).astype(np.float32).astype(np.float64)
    cumulative = np.concatenate([[0.0], np.cumsum(share)])
    best, least = _KL_LEVELS, np.inf
    for threshold in range(_KL_LEVELS, BINS):
        clipped = share[:threshold] + _KL_FLOOR
        clipped[-1] += cumulative[-1] - cumulative[threshold]
        edges = np.linspace(0, threshold, _KL_LEVELS + 1)
        bins = np.arange(threshold + 1)
        at_edges = np.interp(edges, bins, cumulative[: threshold + 1])
        # Each level spreads its share evenly over the bins that it covers.
        levelled = np.diff(np.interp(bins, edges, at_edges)) + _KL_FLOOR
        divergence = float(np.sum(clipped * np.log(clipped / levelled)))
        if divergence < least:
            best, least = threshold, divergence
    return best + 0.5


METHODS: dict[str, Callable[[Counts], float]] = {
    "minmax": _minmax,
    "kl": _kl,
    "percentile": _percentile,
    "mse": _mse,
}
"""How a threshold, in bins, is chosen from a histogram."""


def _has_winograd_kernel(layer: Layer) -> bool:
    """ncnn's 3x3 convolutions of stride 1 run as Winograd F(4, 3), which needs 6-bit weights."""
    if layer.type != "Convolution":
        return False
    width, dilation, stride = layer.integer(1), layer.integer(2, 1), layer.integer(3, 1)
    sizes = (width, layer.integer(11, width))
    steps = (dilation, layer.integer(12, dilation), stride, layer.integer(13, stride))
    return sizes == (3, 3) and steps == (1, 1, 1, 1)
