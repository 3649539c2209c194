"""The interface of sherpa-ncnn: a model's three networks with flat inputs and outputs.

pnnx crashes on tuples and dictionaries and leaves integer arithmetic in the graph. The modules here
therefore take and return plain float tensors, one per blob, and count frames in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calve.bundles.metadata import MetadataTable
from calve.protocols.states import stream_axis
from calve_ncnn.architectures import encoder_outputs, has_frame_count

__all__ = [
    "NcnnDecoder",
    "NcnnEncoder",
    "NcnnEncoderWithoutCount",
    "NcnnJoiner",
    "NetworkToTrace",
    "networks_to_trace",
]

# A second segment length, so that pnnx sees which axes are free.
_OTHER_STEPS = 8


class NcnnEncoder(nn.Module):
    """An export form with flat tensors.

    in0 features (1, T, C), in1 frame count (1,), in2... states; out0 (1, T', D), out1 the output
    frame count, out2... next states.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.state_names = tuple(encoder.init_states(1))

    def forward(self, x: Tensor, x_lens: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.state_names, states, strict=True))
        y, y_lens, next_states = self.encoder.stream(x, x_lens, named)
        return (y, y_lens, *(next_states[name] for name in self.state_names))


class NcnnEncoderWithoutCount(NcnnEncoder):
    """The same for segments of one length, without frame counts: states begin at in1 and out1."""

    segment: Tensor

    def __init__(self, encoder: Any) -> None:
        super().__init__(encoder)
        self.register_buffer("segment", torch.tensor([float(encoder.geometry.segment)]))

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        y, _, *next_states = super().forward(x, self.segment, *states)
        return (y, *next_states)


class NcnnDecoder(nn.Module):
    """The decoder on one context: in0 (1, context_size) symbols, out0 (1, 1, D).

    ncnn embeds symbols from 0 on, so the "no symbol" that training knows has no place here.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, context: Tensor) -> Tensor:
        return self.decoder.combine(self.decoder.embedding(context))  # type: ignore[no-any-return]


class NcnnJoiner(nn.Module):
    """The joiner with its projections: in0 (1, D), in1 (1, D'), out0 (1, vocab_size) logits."""

    def __init__(self, joiner: Any) -> None:
        super().__init__()
        self.joiner = joiner

    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        return self.joiner(encoder_out, decoder_out)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class NetworkToTrace:
    """One network ready to trace.

    Attributes:
      name: "encoder", "decoder" or "joiner".
      inputs: Example inputs, in blob order; the network is traced with these.
      other_inputs: Inputs of another length, if the network takes any length.
      stream_axes: For each input, the axis that counts streams, which ncnn does not have; None
        if it has none.
      outputs: Blobs that a runtime reads.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    stream_axes: tuple[int | None, ...]
    other_inputs: tuple[Tensor, ...] = ()
    outputs: tuple[str, ...] = ("out0",)


def networks_to_trace(encoder: Any, model: Any, table: MetadataTable) -> Sequence[NetworkToTrace]:
    """Encoder, decoder and joiner of a plain model in eval mode.

    Args:
      encoder: The model's encoder in its export form.
      model: With ``.decoder`` and ``.joiner`` in icefall's layout.
      table: The encoder's metadata, which say whether it takes a frame count.
    """
    return (
        _encoder(encoder, table),
        *_decoder_and_joiner(encoder.output_dim, model.decoder, model.joiner),
    )


def _encoder(encoder: Any, table: MetadataTable) -> NetworkToTrace:
    geometry = encoder.geometry
    counted = has_frame_count(table)

    def inputs(frames: int) -> tuple[Tensor, ...]:
        features = torch.zeros(1, frames, encoder.feature_dim)
        count = (torch.tensor([float(frames)]),) if counted else ()
        return (features, *count, *encoder.init_states(1).values())

    module = NcnnEncoder(encoder) if counted else NcnnEncoderWithoutCount(encoder)
    axes = (stream_axis(encoder.state_batch_axis, name) for name in module.state_names)
    other = geometry.segment + _OTHER_STEPS * geometry.subsampling_factor
    return NetworkToTrace(
        "encoder",
        module,
        inputs(geometry.segment),
        stream_axes=(0, *((None,) if counted else ()), *axes),
        other_inputs=inputs(other) if geometry.dynamic else (),
        outputs=encoder_outputs(table, len(module.state_names)),
    )


def _decoder_and_joiner(
    encoder_dim: int, decoder: Any, joiner: Any
) -> tuple[NetworkToTrace, NetworkToTrace]:
    context = torch.zeros(1, decoder.context_size, dtype=torch.int64)
    module = NcnnDecoder(decoder)
    with torch.no_grad():
        decoder_out = module(context)[:, 0]
    return (
        NetworkToTrace("decoder", module, (context,), stream_axes=(0,)),
        NetworkToTrace(
            "joiner",
            NcnnJoiner(joiner),
            (torch.zeros(1, encoder_dim), torch.zeros_like(decoder_out)),
            stream_axes=(0, 0),
        ),
    )
