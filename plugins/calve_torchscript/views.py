"""A model's networks as k2-fsa/sherpa calls them.

sherpa tells encoders apart by the name of their class, and calls what it knows of that class. The
classes here have no other purpose than to be called so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from calve.api import ConfigError, StreamingGeometry

__all__ = ["compile_encoder", "compile_plain"]

_STREAMS = 2


class RNN(nn.Module):
    """A recurrent encoder with two states, (L, N, D) and (L, N, H)."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        if encoder.state_batch_axis != 1:
            raise ConfigError("sherpa's RNN interface has the streams on axis 1 of each state")
        states = encoder.init_states(1)
        hidden, cell = states.values()
        self.state_names: tuple[str, ...] = tuple(states)
        self.num_encoder_layers: int = hidden.size(0)
        self.d_model: int = hidden.size(2)
        self.rnn_hidden_size: int = cell.size(2)
        self.encoder = encoder

    def forward(
        self, x: Tensor, x_lens: Tensor, states: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """x (N, T, C), x_lens (N,) int64, states -> y (N, T', D), y_lens (N,), next states."""
        hidden, cell = self.state_names
        y, y_lens, after = self.encoder.stream(x, x_lens, {hidden: states[0], cell: states[1]})
        return y, y_lens, (after[hidden], after[cell])

    @torch.jit.export
    def get_init_states(
        self,
        batch_size: int = 1,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> tuple[Tensor, Tensor]:
        """Zero states for ``batch_size`` streams."""
        layers = self.num_encoder_layers
        hidden = torch.zeros(layers, batch_size, self.d_model, device=device)
        cell = torch.zeros(layers, batch_size, self.rnn_hidden_size, device=device)
        return hidden, cell


def _trace_rnn(encoder: Any, geometry: StreamingGeometry) -> Any:
    view = RNN(encoder).eval()
    x = torch.zeros(_STREAMS, geometry.segment, encoder.feature_dim)
    x_lens = torch.full((_STREAMS,), geometry.segment)
    states = tuple(encoder.init_states(_STREAMS).values())
    return torch.jit.trace(view, (x, x_lens, states), check_trace=False)  # type: ignore[no-untyped-call]


_ENCODERS: dict[str, Callable[[Any, StreamingGeometry], Any]] = {"RNN": _trace_rnn}


def compile_encoder(class_name: str, encoder: Any, geometry: StreamingGeometry) -> Any:
    """A plain encoder as TorchScript, in sherpa's interface of a class.

    Raises:
      ConfigError: if calve does not know the class, or the encoder does not fit it.
    """
    view = _ENCODERS.get(class_name)
    if view is None:
        raise ConfigError(
            f"calve does not know sherpa's interface for encoders of class {class_name!r}",
            fix=f"known classes are {', '.join(_ENCODERS)}",
        )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript's age
        return view(encoder, geometry)


def compile_plain(module: nn.Module) -> Any:
    """A plain decoder or joiner as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript's age
        return torch.jit.script(module)
