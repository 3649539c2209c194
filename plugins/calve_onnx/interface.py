"""A model's three networks as flat modules with the interface of sherpa-onnx.

The joiner's projections are applied by the encoder and the decoder. sherpa-onnx takes inputs and
outputs by their position; the names are for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calve.protocols.states import stream_axis
from calve_onnx.recurrence import with_unrolled_lstms

__all__ = ["NetworkToExport", "OnnxDecoder", "OnnxEncoder", "OnnxJoiner", "networks_to_export"]

_STREAMS = 2
"""An example of one stream would make every exporter take the axis for a constant."""

Axes = dict[int, str]


class OnnxEncoder(nn.Module):
    """An export form on whole segments: x (N, T, C), states -> (N, T', J), next states."""

    def __init__(self, encoder: Any, projection: nn.Module) -> None:
        super().__init__()
        self.state_names = tuple(encoder.init_states(1))
        self.encoder: Any = with_unrolled_lstms(encoder)
        self.projection = projection

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        x_lens = torch.full((x.size(0),), x.size(1))
        named = dict(zip(self.state_names, states, strict=True))
        y, _, next_states = self.encoder.stream(x, x_lens, named)
        return (self.projection(y), *(next_states[name] for name in self.state_names))


class OnnxDecoder(nn.Module):
    """The decoder on whole contexts: (N, context_size) int64, -1 = no symbol -> (N, J)."""

    def __init__(self, decoder: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.projection = projection

    def forward(self, y: Tensor) -> Tensor:
        return self.projection(self.decoder(y, need_pad=False)[:, 0])  # type: ignore[no-any-return]


class OnnxJoiner(nn.Module):
    """The joiner without its projections: (N, J), (N, J) -> (N, vocab_size) logits."""

    def __init__(self, joiner: nn.Module) -> None:
        super().__init__()
        self.joiner = joiner

    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        return self.joiner(encoder_out, decoder_out, project_input=False)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class NetworkToExport:
    """One network ready to export.

    Attributes:
      name: "encoder", "decoder" or "joiner".
      inputs: Example input by name, in order.
      outputs: Names, in order.
      axes: For inputs and outputs, the axes whose length is free, and what they count.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    axes: dict[str, Axes]


def networks_to_export(
    encoder: Any, model: Any, state_names: Sequence[str]
) -> tuple[NetworkToExport, ...]:
    """Encoder, decoder and joiner of a plain model in eval mode.

    Args:
      encoder: The model's encoder in its export form.
      model: With ``.decoder`` and ``.joiner`` in icefall's layout.
      state_names: What sherpa-onnx calls the encoder's states; empty for their own names.
    """
    decoder = OnnxDecoder(model.decoder, model.joiner.decoder_proj)
    contexts = torch.zeros(_STREAMS, model.decoder.context_size, dtype=torch.int64)
    with torch.no_grad():
        decoder_out = decoder(contexts)
    streams = {0: "N"}
    return (
        _encoder(encoder, model.joiner.encoder_proj, state_names),
        NetworkToExport(
            "decoder",
            decoder,
            {"y": contexts},
            ("decoder_out",),
            dict.fromkeys(("y", "decoder_out"), streams),
        ),
        NetworkToExport(
            "joiner",
            OnnxJoiner(model.joiner),
            {"encoder_out": torch.zeros_like(decoder_out), "decoder_out": decoder_out},
            ("logit",),
            dict.fromkeys(("encoder_out", "decoder_out", "logit"), streams),
        ),
    )


def _encoder(encoder: Any, projection: nn.Module, state_names: Sequence[str]) -> NetworkToExport:
    geometry = encoder.geometry
    module = OnnxEncoder(encoder, projection)
    examples = encoder.init_states(_STREAMS)
    names = dict(zip(state_names or examples, examples, strict=True))
    states = {name: examples[own] for name, own in names.items()}
    next_states = [f"new_{name}" for name in names]
    axes: dict[str, Axes] = {"x": {0: "N"}, "encoder_out": {0: "N"}}
    if geometry.dynamic:
        axes["x"][1], axes["encoder_out"][1] = "T", "T_out"
    for name, own in names.items():
        streams = {stream_axis(encoder.state_batch_axis, own): "N"}
        axes[name] = axes[f"new_{name}"] = streams
    features = torch.zeros(_STREAMS, geometry.segment, encoder.feature_dim)
    return NetworkToExport(
        "encoder", module, {"x": features, **states}, ("encoder_out", *next_states), axes
    )
