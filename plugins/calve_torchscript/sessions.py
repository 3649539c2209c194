"""Sessions on TorchScript networks, with the calls of k2-fsa/sherpa for each encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calve.api import ConfigError
from calve.bundles.bundle import Bundle
from calve.common.torch_threads import inference
from calve.data.geometry import StreamingGeometry
from calve.protocols import States
from calve.protocols.states import join_states, select_states

__all__ = ["INTERFACES", "STATES_REPORT", "OfflineTorchscriptSession", "TorchscriptSession"]

Float32Array = NDArray[np.float32]

STATES_REPORT = "states"
"""Key in the manifest's ``steps``: the encoder's own names of its states, in order."""

_STREAM_AXIS = 1

_CPU = torch.device("cpu")


class Interface(Protocol):
    """How sherpa runs encoders of one class; in all states, axis 1 counts the streams."""

    def __init__(self, encoder: Any, geometry: StreamingGeometry) -> None: ...

    def init_states(self, batch_size: int) -> Sequence[Tensor]:
        """Zero states, in the order of the encoder's own."""

    def encode(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """x (N, T, C) -> y (N, T', D), next states."""


class RnnInterface:
    """Class RNN; states are (L, N, D) and (L, N, H)."""

    def __init__(self, encoder: Any, geometry: StreamingGeometry) -> None:
        self._encoder = encoder

    def init_states(self, batch_size: int) -> Sequence[Tensor]:
        states: tuple[Tensor, Tensor] = self._encoder.get_init_states(batch_size, _CPU)
        return states

    def encode(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        y, _, next_states = self._encoder(x, _lens(x), tuple(states))
        return y, next_states


class ConformerInterface:
    """Class Conformer, whose caller counts what was processed.

    States are sherpa's, but (L, N, left context, D) and (L, N, kernel size - 1, D), and the output
    frames so far, (1, N) float32.
    """

    def __init__(self, encoder: Any, geometry: StreamingGeometry) -> None:
        self._encoder = encoder
        self._contexts = (geometry.left_context, geometry.right_context)

    def init_states(self, batch_size: int) -> Sequence[Tensor]:
        one = self._encoder.get_init_state(self._contexts[0], _CPU)
        caches = [torch.stack([state] * batch_size, dim=1) for state in one]
        return [*caches, torch.zeros(1, batch_size)]

    def encode(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        *caches, processed = states
        y, y_lens, after = self._encoder.streaming_forward(
            x,
            _lens(x),
            [cache.transpose(1, 2) for cache in caches],
            processed[0].long(),
            *self._contexts,
        )
        return y, [*(cache.transpose(1, 2) for cache in after), processed + y_lens]


INTERFACES: dict[str, type[Interface]] = {"RNN": RnnInterface, "Conformer": ConformerInterface}
"""By the class of the encoder."""


class _SearchedNetworks:
    """Decoder and joiner of a loaded TorchScript bundle; a `calve.protocols.Session`.

    The joiner's projections are applied to what the encoder and the decoder return, once a frame.

    Args:
      bundle: The bundle.
      networks: Its loaded "encoder", "decoder" and "joiner".
      num_threads: Threads of torch in each call of a method.
    """

    def __init__(self, bundle: Bundle, networks: dict[str, Any], num_threads: int) -> None:
        manifest = bundle.manifest
        self.num_threads = num_threads
        self.geometry = manifest.geometry
        self.feature_dim = manifest.features.num_mel_bins
        self.blank_id = self.initial_symbol = manifest.blank_id
        self.context_size = manifest.context_size
        self.vocab_size = manifest.vocab_size
        self._decoder = networks["decoder"]
        self._joiner = networks["joiner"]

    @inference
    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, joiner_dim)."""
        decoder_out: Tensor = self._decoder(torch.from_numpy(contexts), False)
        projected: Tensor = self._joiner.decoder_proj(decoder_out.squeeze(1))
        return projected.numpy()

    @inference
    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out, decoder_out (N, joiner_dim) -> logits (N, vocab_size)."""
        logits: Tensor = self._joiner(
            torch.from_numpy(encoder_out), torch.from_numpy(decoder_out), False
        )
        return logits.numpy()


class TorchscriptSession(_SearchedNetworks):
    """A loaded TorchScript bundle that streams; a `calve.protocols.StreamingSession`.

    Args:
      bundle: The bundle.
      networks: Its loaded "encoder", "decoder" and "joiner".
      interface: How to call the encoder.
      num_threads: Threads of torch in each call of a method.
    """

    def __init__(
        self,
        bundle: Bundle,
        networks: dict[str, Any],
        interface: type[Interface],
        num_threads: int,
    ) -> None:
        super().__init__(bundle, networks, num_threads)
        self._encoder = interface(networks["encoder"], self.geometry)
        self._state_names: list[str] = bundle.manifest.steps[STATES_REPORT]

    @inference
    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        return self._named(self._encoder.init_states(batch_size))

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, _STREAM_AXIS)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, _STREAM_AXIS)

    @inference
    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C) -> encoder_out (N, T', joiner_dim), next states."""
        tensors = [torch.from_numpy(states[name]) for name in self._state_names]
        encoder_out, next_states = self._encoder.encode(torch.from_numpy(features), tensors)
        projected: Tensor = self._joiner.encoder_proj(encoder_out)
        return projected.numpy(), self._named(next_states)

    def _named(self, states: Sequence[Tensor]) -> States:
        arrays = (state.numpy() for state in states)
        return dict(zip(self._state_names, arrays, strict=True))


class OfflineTorchscriptSession(_SearchedNetworks):
    """A loaded TorchScript bundle for whole utterances; a `calve.protocols.OfflineSession`.

    Args:
      bundle: The bundle.
      networks: Its loaded "encoder", "decoder" and "joiner".
      num_threads: Threads of torch in each call of a method.
    """

    def __init__(self, bundle: Bundle, networks: dict[str, Any], num_threads: int) -> None:
        super().__init__(bundle, networks, num_threads)
        self.offline_initial_symbol: int = networks["decoder"].initial_symbol
        self._encoder = networks["encoder"]

    @inference
    def encode(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """features (N, T, C), lengths (N,) -> encoder_out (N, T', joiner_dim), lengths (N,)."""
        encoder_out, encoder_out_lens = self._encoder(
            torch.from_numpy(features), torch.from_numpy(lengths)
        )
        projected: Tensor = self._joiner.encoder_proj(encoder_out)
        return projected.numpy(), encoder_out_lens.numpy()

    def encode_in_chunks(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """Raise `ConfigError`: the encoder was compiled for whole utterances alone."""
        raise ConfigError(
            "a TorchScript encoder of whole utterances cannot simulate streaming",
            fix="simulate it with the checkpoint",
        )


def _lens(x: Tensor) -> Tensor:
    """(N,) int64 of a batch without padding."""
    return torch.full((x.size(0),), x.size(1))
