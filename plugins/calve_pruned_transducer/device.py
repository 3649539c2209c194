"""The conformer as graph formats compile it: one segment of fixed length, states as flat tensors.

`device_form` is the network; the functions after it arrange its states as the runtime of a format
keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from calve.api import ConfigError
from calve_pruned_transducer.elementary import HIDDEN, ElementaryConformer
from calve_pruned_transducer.encoder import output_lens

__all__ = ["DeviceConformer", "device_form"]


def device_form(encoder: Any) -> DeviceConformer:
    """The form of a plain `Conformer` that graph formats compile.

    Raises:
      ConfigError: if the convolutions are not causal, or there is no left context.
    """
    return DeviceConformer(encoder).eval()


class DeviceConformer(nn.Module):
    """A `calve.protocols.StreamingEncoder` for whole segments of ``geometry.segment`` frames.

    States, with L layers, N streams, D ``encoder_dim``, all zero at the start of a stream:

    * ``attention`` (N, L * left_context, D) and ``convolution`` (N, L * (cnn_module_kernel - 1),
      D): those of `Conformer.init_states`, layer after layer along the second axis;
    * ``filled`` (N, 1): how many frames of each layer's attention cache are filled.
    """

    state_batch_axis = 0

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        encoder.check_causal()
        self.geometry = encoder.geometry
        if self.geometry.left_context < 1:
            raise ConfigError(
                "a conformer without left context cannot be exported: its cache would be empty",
                fix="give --left-context 1 or more",
            )
        self.feature_dim: int = encoder.feature_dim
        self.output_dim: int = encoder.output_dim
        self.network = ElementaryConformer(encoder)
        self.left_context = self.geometry.left_context
        self.right_context = self.geometry.right_context
        self.frames = self.geometry.output_frames + self.right_context
        self.counted = self.frames - (self.right_context if encoder.trims_right_context else 0)
        with torch.no_grad():
            positions = self.network.position_keys(self.frames, self.left_context)
        self.positions = nn.ParameterList(
            nn.Parameter(keys.contiguous(), requires_grad=False) for keys in positions
        )
        # A cached frame is seen if more are filled than come after it, a new one always.
        after = torch.arange(self.left_context - 1, -1, -1, dtype=torch.float32)
        self.register_buffer("frames_after", torch.cat((after, -torch.ones(self.frames))))

    frames_after: Tensor

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Zero states for ``batch_size`` streams."""
        layers, dim = len(self.network.layers), self.network.encoder_dim
        context = self.network.convolution_context
        return {
            "attention": torch.zeros(batch_size, layers * self.left_context, dim),
            "convolution": torch.zeros(batch_size, layers * context, dim),
            "filled": torch.zeros(batch_size, 1),
        }

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step over a whole segment: `Conformer.stream`.

        Args:
          x: (N, T, C) float32 features, T = ``geometry.segment``.
          x_lens: T for each row, integer or float; nothing is hidden behind a shorter one.
          states: As `init_states` or the step before gave them.
        """
        layers = len(self.network.layers)
        y, attention, convolution = self.step(
            x,
            states["filled"],
            states["attention"].chunk(layers, 1),
            states["convolution"].chunk(layers, 1),
        )
        next_states = {
            "attention": torch.cat(attention, 1),
            "convolution": torch.cat(convolution, 1),
            "filled": (states["filled"] + self.counted).clamp(max=self.left_context),
        }
        return y, output_lens(x_lens) - (2 + self.frames - self.counted), next_states

    def step(
        self, x: Tensor, filled: Tensor, attention: Sequence[Tensor], convolution: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """`ElementaryConformer.step` with the mask from ``filled`` (N, 1)."""
        seen = (filled - self.frames_after).clamp(0.0, 1.0)
        mask = ((seen - 1.0) * HIDDEN).unsqueeze(1).unsqueeze(1)
        return self.network.step(
            x,
            mask,
            list(self.positions),
            list(attention),
            list(convolution),
            self.frames,
            self.left_context,
            self.right_context,
        )
