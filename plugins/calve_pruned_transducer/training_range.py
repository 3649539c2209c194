"""The chunk sizes and left contexts for which a conformer was trained."""

from __future__ import annotations

from collections.abc import Sequence

from calve.api import StreamingGeometry
from calve_pruned_transducer.config import ConformerConfig

__all__ = ["untrained"]


def untrained(config: ConformerConfig, geometry: StreamingGeometry) -> Sequence[str]:
    """Describe the parts of ``geometry`` that dynamic chunk training with these options excludes.

    Training uses chunks of 1 to ``short_chunk_size`` frames and ``num_left_chunks`` chunks of left
    context.
    """
    if not config.dynamic_chunk_training:
        return [
            "nothing says that this model was trained in chunks; if it was, give the options of "
            "its training: --dynamic-chunk-training 1, --short-chunk-size and --num-left-chunks"
        ]
    findings = []
    chunk, longest = geometry.output_frames, config.short_chunk_size
    frame_ms = geometry.frame_ms
    if chunk > longest:
        findings.append(
            f"a chunk of {chunk} frames ({chunk * frame_ms} ms) is outside of what this model was "
            f"trained for: 1 to {longest} frames ({frame_ms} to {longest * frame_ms} ms)"
        )
    left, chunks = geometry.left_context, config.num_left_chunks
    if chunks >= 0 and not chunks <= left <= chunks * longest:
        findings.append(
            f"a left context of {left} frames is outside of what this model was trained for: "
            f"{chunks} to {chunks * longest} frames"
        )
    return findings
