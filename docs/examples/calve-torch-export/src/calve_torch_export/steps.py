"""From a torch model to programs, inside an `ExportWorkspace`."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from calve.api import ExportError
from calve.protocols import ExportWorkspace

__all__ = ["capture"]

_STREAMS = Dim("streams", min=1, max=4096)


class _Step(nn.Module):
    """One step of an encoder, without lengths: every segment is whole."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, states: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """x (N, T, C), states -> y (N, T', D), next states."""
        y, _, states = self.encoder.stream(x, torch.full((x.size(0),), x.size(1)), states)
        return y, states


class _Context(nn.Module):
    """The decoder for whole contexts."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, y: Tensor) -> Tensor:
        """y (N, context_size) int64 -> (N, D')."""
        decoder_out: Tensor = self.decoder(y, need_pad=False)
        return decoder_out[:, 0]


def capture(workspace: ExportWorkspace) -> None:
    """Write a program for each network, for any number of streams."""
    encoder, decoder, joiner = (
        getattr(workspace.model, name) for name in ("encoder", "decoder", "joiner")
    )
    # The sample has two streams: torch takes the size 1 for a constant.
    x = torch.zeros(2, workspace.geometry.segment, encoder.feature_dim)
    states = encoder.init_states(2)
    batch_axis = encoder.state_batch_axis
    axes = {n: batch_axis if isinstance(batch_axis, int) else batch_axis[n] for n in states}
    step, context = _Step(encoder).eval(), _Context(decoder).eval()
    shapes = ({0: _STREAMS}, {name: {axis: _STREAMS} for name, axis in axes.items()})
    _write(workspace, "encoder", step, (x, states), shapes)
    y = torch.zeros(2, decoder.context_size, dtype=torch.int64)
    _write(workspace, "decoder", context, (y,), ({0: _STREAMS},))
    with torch.no_grad():
        frames = step(x, states)[0][:, 0], context(y)
    _write(workspace, "joiner", joiner, frames, ({0: _STREAMS}, {0: _STREAMS}))
    workspace.geometry = replace(workspace.geometry, dynamic=False)
    workspace.report["states"] = {n: list(s.shape) for n, s in encoder.init_states(1).items()}
    workspace.report["axes"] = axes
    workspace.report["precision"] = dict.fromkeys(("encoder", "decoder", "joiner"), "fp32")


def _write(
    workspace: ExportWorkspace, name: str, network: nn.Module, sample: tuple[Any, ...], shapes: Any
) -> None:
    try:
        with torch.no_grad():
            program = torch.export.export(network, sample, dynamic_shapes=shapes)
    except Exception as error:  # torch.export has no common base class of its errors
        first_line = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch.export cannot capture the {name}: {first_line}") from error
    content = io.BytesIO()
    torch.export.save(program, content)
    (workspace.folder / f"{name}.pt2").write_bytes(content.getbuffer())
