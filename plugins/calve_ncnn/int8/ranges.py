"""Sources of activation ranges: recordings, the golden recording, or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calve.bundles.bundle import GOLDEN_FILE
from calve.bundles.golden import Golden
from calve.common.progress import Progress
from calve.protocols import ActivationReport, CalibrationReport
from calve.protocols.bundles import OpenedBundle
from calve_ncnn.int8.calibration import Calibration, Taps, calibrate
from calve_ncnn.int8.layers import takes_fixed_range
from calve_ncnn.int8.plan import NetworkPlan
from calve_ncnn.int8.scales import BINS, LEVELS, choose_threshold

__all__ = ["Ranges", "ranges_of_golden", "ranges_of_recordings"]

_SHOWN_BINS = 128
"""Bins of an activation histogram in the report."""


@dataclass(frozen=True)
class Ranges:
    """Chosen ranges of layer inputs.

    Attributes:
      report: What they come from.
      activations: One for each layer that was watched.
    """

    report: CalibrationReport
    activations: tuple[ActivationReport, ...] = ()

    def complete(self, plan: NetworkPlan) -> NetworkPlan:
        """The plan with the input scales of its layers that need one."""
        scales = {
            # Rounded as ncnn stores it, so that a table that is written reads back the same.
            one.layer: float(np.float32(LEVELS) / np.float32(one.threshold))
            for one in self.activations
            if one.network == plan.network.name and one.layer in plan.watched
        }
        return plan.with_inputs({**plan.table.inputs, **scales})


def ranges_of_recordings(
    source: OpenedBundle,
    plans: Sequence[NetworkPlan],
    recordings: Sequence[Path],
    method: str,
    *,
    jobs: int,
    progress: Progress,
) -> Ranges:
    """Measure every layer whose int8 mode fixes the input range, quantized or not."""
    watched = {
        plan.network.name: {
            layer.name: layer.inputs[0]
            for layer in plan.network.layers.values()
            if takes_fixed_range(layer) and layer.inputs
        }
        for plan in plans
    }
    return _measure(source, watched, recordings, method, jobs, progress)


def ranges_of_golden(
    source: OpenedBundle,
    plans: Sequence[NetworkPlan],
    method: str,
    scratch: Path,
    progress: Progress,
) -> Ranges:
    """Measure, on the recording that the bundle carries, what the plans cannot do without."""
    watched = {plan.network.name: plan.watched for plan in plans}
    if not any(watched.values()):
        return Ranges(CalibrationReport("none"))
    recording = scratch / "golden.wav"
    Golden.read(source.path / GOLDEN_FILE).write_wav(recording)
    ranges = _measure(source, watched, [recording], method, 1, progress)
    return replace(ranges, report=replace(ranges.report, source="golden recording"))


def _measure(
    source: OpenedBundle,
    watched: Mapping[str, Mapping[str, str]],
    recordings: Sequence[Path],
    method: str,
    jobs: int,
    progress: Progress,
) -> Ranges:
    taps: Taps = tuple(
        (network, tuple(dict.fromkeys(blobs.values())))
        for network, blobs in watched.items()
        if blobs
    )
    calibration = calibrate(source, recordings, taps, jobs=jobs, progress=progress)
    activations = tuple(
        _choose(calibration, network, layer, blob, method)
        for network, blobs in watched.items()
        for layer, blob in blobs.items()
    )
    return Ranges(replace(calibration.report, method=method), activations)


def _choose(
    calibration: Calibration, network: str, layer: str, blob: str, method: str
) -> ActivationReport:
    histogram = calibration.histograms[network, blob]
    shown = histogram.counts.reshape(_SHOWN_BINS, BINS // _SHOWN_BINS).sum(axis=1)
    return ActivationReport(
        network=network,
        layer=layer,
        absmax=histogram.absmax,
        threshold=choose_threshold(histogram.counts, histogram.absmax, method),
        counts=tuple(shown.tolist()),
    )
