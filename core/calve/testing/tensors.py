"""Helpers that run an encoder on whole utterances and step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from calve.data.geometry import StreamingGeometry

if TYPE_CHECKING:
    import torch

__all__ = ["features", "lengths", "run", "stream"]


def features(encoder: Any, streams: int, frames: int, seed: int = 0) -> torch.Tensor:
    """(N, T, C) standard normal numbers, the same for the same arguments."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(streams, frames, encoder.feature_dim, generator=generator)


def lengths(x: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.full((x.size(0),), x.size(1))


def run(
    encoder: Any, x: torch.Tensor, frames: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole utterances, without gradients."""
    import torch

    with torch.no_grad():
        y, y_lens = encoder(x, lengths(x) if frames is None else torch.tensor(frames))
    return y, y_lens


def segments(x: torch.Tensor, geometry: StreamingGeometry) -> Iterator[torch.Tensor]:
    for start in range(0, x.size(1) - geometry.segment + 1, geometry.shift):
        yield x[:, start : start + geometry.segment]


def stream(
    encoder: Any, x: torch.Tensor, geometry: StreamingGeometry
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Run all full segments of x in sequence; return the output and the last states."""
    import torch

    states: dict[str, torch.Tensor] = encoder.init_states(x.size(0))
    outputs = []
    with torch.no_grad():
        for segment in segments(x, geometry):
            y, _, states = encoder.stream(segment, lengths(segment), states)
            outputs.append(y)
    return torch.cat(outputs, 1), states
