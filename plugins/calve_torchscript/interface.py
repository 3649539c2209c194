"""A model's networks with the interface that k2-fsa/sherpa calls.

sherpa tells encoders that stream apart by the name of their class, and calls what it knows of that
class; of an encoder of whole utterances it calls ``forward``, whatever its class. The classes here
have no other purpose than to be called so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from calve.api import ConfigError, StreamingGeometry

__all__ = ["OfflineEncoder", "compile_encoder", "compile_offline_encoder", "compile_plain"]

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


class Conformer(nn.Module):
    """An encoder of attention and convolution, over any chunk, left and right context.

    Its states are two tensors, (L, left context, N, D) and (L, kernel size - 1, N, D).
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        if encoder.state_batch_axis != 1:
            raise ConfigError("calve's Conformer interface needs the streams on axis 1")
        states = encoder.init_states(1)
        self.attention, self.convolution, self.processed = states
        layers, _, self.convolution_context, self.encoder_dim = states[self.convolution].shape
        self.num_encoder_layers: int = layers
        self.subsampling_factor: int = encoder.geometry.subsampling_factor
        self.encoder = encoder

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Whole utterances: x (N, T, C), x_lens (N,) int64 -> y (N, T', D), y_lens (N,)."""
        y: tuple[Tensor, Tensor] = self.encoder(x, x_lens)
        return y

    @torch.jit.export
    def get_init_state(
        self,
        left_context: int = 64,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> list[Tensor]:
        """Zero states of one stream: (L, left_context, D), (L, kernel size - 1, D)."""
        layers, dim = self.num_encoder_layers, self.encoder_dim
        return [
            torch.zeros(layers, left_context, dim, device=device),
            torch.zeros(layers, self.convolution_context, dim, device=device),
        ]

    @torch.jit.export
    def streaming_forward(
        self,
        x: Tensor,
        x_lens: Tensor,
        states: list[Tensor],
        processed_lens: Tensor,
        left_context: int = 64,
        right_context: int = 0,
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """One step of N streams.

        Args:
          x: (N, T, C), T = subsampling_factor * (chunk size + right_context + 2) + 3.
          x_lens: (N,) int64.
          states: Those of each stream, stacked on axis 2.
          processed_lens: (N,) int64, output frames so far, or the feature frames gone over.
          left_context: What the states were made for.
          right_context: Output frames to look ahead.

        Returns:
          y (N, T', D), y_lens (N,), next states.
        """
        attention, convolution = states[0], states[1]
        if attention.size(1) != left_context:
            raise ValueError("the states were made for another left context")
        # sherpa's Python server counts output frames, as icefall does, but its C++ counts feature
        # frames, and would show the attention slots that were never filled; these are still zero.
        filled = attention[0].any(dim=2).sum(dim=0)
        counts_features = processed_lens == self.subsampling_factor * filled
        processed = torch.where(counts_features, filled, processed_lens)
        before = {
            self.attention: attention.transpose(1, 2),
            self.convolution: convolution.transpose(1, 2),
            self.processed: processed.unsqueeze(0),
        }
        y, y_lens, after = self.encoder.stream(x, x_lens, before, right_context)
        next_states = [
            after[self.attention].transpose(1, 2),
            after[self.convolution].transpose(1, 2),
        ]
        return y, y_lens, next_states


class OfflineEncoder(nn.Module):
    """An encoder of whole utterances, which cannot stream."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, T, C), x_lens (N,) int64 -> y (N, T', D), y_lens (N,)."""
        y: tuple[Tensor, Tensor] = self.encoder(x, x_lens)
        return y


Compile = Callable[[nn.Module, tuple[Any, ...]], Any]
"""From a module and inputs that it may be called with to TorchScript."""


def _trace(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]


def _script(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    # Tracing would fix the lengths and the contexts, which sherpa's users choose.
    return torch.jit.script(module)


_COMPILED_BY: dict[str, tuple[type[nn.Module], Compile]] = {
    "RNN": (RNN, _trace),
    "Conformer": (Conformer, _script),
}
"""The interface for each of sherpa's classes of encoders that stream, and what compiles these."""


def compile_encoder(class_name: str, encoder: Any, geometry: StreamingGeometry) -> Any:
    """A plain encoder as TorchScript, in sherpa's interface of a class.

    Raises:
      ConfigError: if calve does not know the class, or the encoder does not fit it.
    """
    interface, compile_module = _compiled_by(class_name)
    states = tuple(encoder.init_states(_STREAMS).values())
    inputs = (*_features(encoder, geometry), states)
    return _quietly(compile_module, interface(encoder), inputs)


def compile_offline_encoder(class_name: str, encoder: Any, geometry: StreamingGeometry) -> Any:
    """A plain encoder as TorchScript, for whole utterances; ``class_name`` tells how to compile it.

    Raises:
      ConfigError: if calve does not know the class.
    """
    _, compile_module = _compiled_by(class_name)
    return _quietly(compile_module, OfflineEncoder(encoder), _features(encoder, geometry))


def _compiled_by(class_name: str) -> tuple[type[nn.Module], Compile]:
    if class_name not in _COMPILED_BY:
        raise ConfigError(
            f"calve does not know sherpa's interface for encoders of class {class_name!r}",
            fix=f"known classes are {', '.join(_COMPILED_BY)}",
        )
    return _COMPILED_BY[class_name]


def _features(encoder: Any, geometry: StreamingGeometry) -> tuple[Tensor, Tensor]:
    """x (N, T, C) and x_lens (N,) to trace an encoder with."""
    x = torch.zeros(_STREAMS, geometry.segment, encoder.feature_dim)
    return x, torch.full((_STREAMS,), geometry.segment)


def _quietly(compile_module: Compile, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript's age
        return compile_module(module.eval(), inputs)


def compile_plain(module: nn.Module) -> Any:
    """A plain decoder or joiner as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript's age
        return torch.jit.script(module)
