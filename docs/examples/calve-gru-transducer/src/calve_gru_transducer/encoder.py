"""The network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from calve.api import StreamingGeometry
from calve_gru_transducer.plugin import Config


class GruEncoder(nn.Module):
    """A convolution over 8 feature frames at every fourth, then residual GRU layers.

    The only state is ``hidden``, (layers, N, encoder_dim).
    """

    geometry = StreamingGeometry(shift=4, overlap=4, subsampling_factor=4)
    feature_dim = 80
    state_batch_axis = 1

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = self.output_dim = config.encoder_dim
        self.front = nn.Conv1d(self.feature_dim, dim, kernel_size=8, stride=4)
        self.layers = nn.ModuleList(
            nn.GRU(dim, dim, batch_first=True) for _ in range(config.num_encoder_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(config.num_encoder_layers))

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Whole utterances: x (N, T, C), x_lens (N,) -> y (N, T', D), y_lens (N,)."""
        y, y_lens, _ = self.stream(x, x_lens, self.init_states(x.size(0)))
        return y, y_lens

    def init_states(self, batch_size: int) -> dict[str, Tensor]:
        """Zero states for ``batch_size`` streams."""
        shape = (len(self.layers), batch_size, self.output_dim)
        return {"hidden": self.front.weight.new_zeros(shape)}

    def stream(
        self, x: Tensor, x_lens: Tensor, states: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One step: x (N, T, C), T = 4k + 4 -> y (N, k, D), y_lens (N,), next states."""
        y = self.front(x.transpose(1, 2)).relu().transpose(1, 2)
        hidden = []
        before = states["hidden"].chunk(len(self.layers), 0)
        for layer, norm, first in zip(self.layers, self.norms, before, strict=True):
            output, last = layer(y, first)
            y = norm(y + output)
            hidden.append(last)
        y_lens = torch.div(x_lens - 4, 4, rounding_mode="floor")
        return y, y_lens, {"hidden": torch.cat(hidden, 0)}
