"""The error of each layer when only this layer is int8."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.bundles.bundle import GOLDEN_FILE, Bundle
from calve.bundles.golden import Golden
from calve.bundles.observation import observe
from calve.common.progress import Progress, tracked
from calve.protocols.bundles import OpenedBundle
from calve_ncnn.int8.plan import NetworkPlan
from calve_ncnn.int8.variants import write_variant
from calve_ncnn.layout import NETWORKS

__all__ = ["layer_errors"]

_OUTPUTS = {"encoder": "encoder_out", "decoder": "decoder_out", "joiner": "logits"}
_CHUNK_MS = 640


def layer_errors(
    source: OpenedBundle,
    plans: Sequence[NetworkPlan],
    base: Path,
    scratch: Path,
    progress: Progress,
) -> dict[tuple[str, str], float]:
    """Quantize one layer at a time and see how far its network's output moves.

    The input is the recording that the bundle carries; the error is the root mean square of the
    difference, divided by that of the output.

    Args:
      source: The bundle that the plans are about.
      plans: Layers that shall become int8.
      base: The variant in which no layer is int8.
      scratch: Where variants may be written for a moment.
      progress: Draws the bar.
    """
    golden = Golden.read(source.path / GOLDEN_FILE)
    expected = _outputs(base, golden)
    layers = [(plan, name) for plan in plans for name in plan.int8]
    errors = {}
    with tracked(progress, "quantize each layer alone", len(layers)):
        for plan, name in layers:
            network = plan.network.name
            alone = plan.without([other for other in plan.int8 if other != name], "not this one")
            folder = write_variant(
                source,
                [alone],
                scratch / "alone",
                linked=[other for other in NETWORKS if other != network],
                base=base,
            )
            output = _OUTPUTS[network]
            errors[network, name] = _relative(_outputs(folder, golden)[output], expected[output])
            shutil.rmtree(folder)
            progress.advance(note=name)
    return errors


def _outputs(folder: Path, golden: Golden) -> dict[str, NDArray[np.float32]]:
    bundle = Bundle.open(folder)
    geometry = bundle.manifest.geometry
    if geometry.dynamic:
        geometry = geometry.with_chunk_ms(_CHUNK_MS)
    return observe(bundle.open_streaming_session(), golden.features, geometry).outputs


def _relative(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    difference = actual.astype(np.float64) - expected
    return float(np.linalg.norm(difference) / max(np.linalg.norm(expected), 1e-30))
