"""The torch runtime: batched sessions on a torch model in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calve.api import Conventions
from calve.common.torch_threads import inference, torch_threads
from calve.protocols.states import join_states, select_states
from calve_transducer.layers.conversion import to_plain
from calve_transducer.model.decoder import SingleContextDecoder, StatelessDecoder

__all__ = ["TorchRuntime", "TorchSession"]

Float32Array = NDArray[np.float32]
States = Mapping[str, Float32Array]

_FASTEST = Conventions(projected=True)
"""Each frame and each context is projected once, however often they are joined."""


class TorchSession:
    """A `calve.protocols.Session` on a plain (converted) model.

    States are those of the encoder: axis ``encoder.state_batch_axis`` counts the streams. A
    segment may have any length that the encoder takes, so ``geometry`` may be replaced by another
    shift of the same encoder.

    Args:
      model: The plain model.
      conventions: How the encoder, the decoder and the joiner share the projections.
      num_threads: Threads of torch in each call of a method; None for the process's own number.
    """

    def __init__(
        self,
        model: Any,
        conventions: Conventions = _FASTEST,
        *,
        num_threads: int | None = None,
    ) -> None:
        self.model = model
        self.num_threads = num_threads
        self._decoder = _context_network(model.decoder)
        self._projected = conventions.projected
        self.geometry = model.encoder.geometry
        self.feature_dim: int = model.encoder.feature_dim
        self.blank_id: int = model.decoder.blank_id
        first = conventions.initial_symbol
        self.initial_symbol: int = self.blank_id if first is None else first
        self.offline_initial_symbol: int = model.decoder.initial_symbol
        self.context_size: int = model.decoder.context_size
        self.vocab_size: int = model.decoder.vocab_size

    @inference
    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        return _numpy_states(self.model.encoder.init_states(batch_size))

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, self.model.encoder.state_batch_axis)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, self.model.encoder.state_batch_axis)

    @inference
    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C) -> encoder_out (N, T', D), next states."""
        x = torch.from_numpy(features)
        x_lens = torch.full((x.size(0),), x.size(1))
        tensors = {name: torch.from_numpy(state) for name, state in states.items()}
        encoder_out, _, next_states = self.model.encoder.stream(x, x_lens, tensors)
        return self._encoder_output(encoder_out), _numpy_states(next_states)

    @inference
    def encode(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """Whole utterances: features (N, T, C), lengths (N,) -> encoder_out (N, T', D), (N,)."""
        encoder_out, encoder_out_lens = self.model.encoder(
            torch.from_numpy(features), torch.from_numpy(lengths)
        )
        return self._encoder_output(encoder_out), encoder_out_lens.numpy()

    @inference
    def encode_in_chunks(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """As `encode`, but what `encode_chunk` gives step by step; lengths are whole steps.

        An encoder without ``stream_at_once`` takes these steps.
        """
        if not hasattr(self.model.encoder, "stream_at_once"):
            return self._encode_step_by_step(features, lengths)
        encoder_out, encoder_out_lens = self.model.encoder.stream_at_once(
            torch.from_numpy(features), torch.from_numpy(lengths)
        )
        return self._encoder_output(encoder_out), encoder_out_lens.numpy()

    def _encode_step_by_step(
        self, features: Float32Array, lengths: NDArray[np.int64]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        geometry = self.geometry
        states = self.init_states(len(features))
        encoder_out = []
        for start in range(0, features.shape[1] - geometry.segment + 1, geometry.shift):
            segment = np.ascontiguousarray(features[:, start : start + geometry.segment])
            frames, states = self.encode_chunk(segment, states)
            encoder_out.append(frames)
        return (
            np.concatenate(encoder_out, axis=1),
            (lengths - geometry.overlap) // geometry.subsampling_factor,
        )

    @inference
    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, D')."""
        decoder_out = self._decoder(torch.from_numpy(contexts))
        if self._projected:
            decoder_out = self.model.joiner.decoder_proj(decoder_out)
        return decoder_out.numpy()

    @inference
    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""
        logits: torch.Tensor = self.model.joiner(
            torch.from_numpy(encoder_out),
            torch.from_numpy(decoder_out),
            project_input=not self._projected,
        )
        return logits.numpy()

    @inference
    def project(self, encoder_out: Float32Array) -> Float32Array:
        """What `encode` returns where the encoder itself gives ``encoder_out`` (..., D)."""
        return self._encoder_output(torch.from_numpy(encoder_out))

    def _encoder_output(self, encoder_out: torch.Tensor) -> Float32Array:
        if self._projected:
            encoder_out = self.model.joiner.encoder_proj(encoder_out)
        return encoder_out.numpy()


class TorchRuntime:
    """The driver ``torch`` of ``calve.runtimes``."""

    @staticmethod
    def open(
        bundle: Any, *, num_threads: int = 1, conventions: Conventions | None = None
    ) -> TorchSession:
        """A session on a copy of a live model with its scaled layers folded.

        Args:
          bundle: A model with ``.encoder``, ``.decoder`` and ``.joiner``, or a
            `calve.models.loading.LoadedModel`.
          num_threads: Threads of torch while the session computes.
          conventions: How the networks share the work: those of the runtime to compare with, if
            any, and then the encoder keeps its states as it exports them; None for what is fastest.
        """
        with torch_threads(num_threads):
            model: Any = to_plain(getattr(bundle, "model", bundle))
            if conventions is None and hasattr(model.encoder, "runtime_form"):
                with torch.no_grad():
                    model.encoder = model.encoder.runtime_form().eval()
        return TorchSession(model, conventions or _FASTEST, num_threads=num_threads)

    @staticmethod
    def bind(model: Any) -> TorchSession:
        """A session for searches on a model that goes on living.

        Its decoder and joiner are copied to the CPU; the model, its encoder's output and torch's
        number of threads stay as they are.

        Args:
          model: A model with ``.encoder``, ``.decoder`` and ``.joiner``.
        """
        parts = {name: copy.deepcopy(getattr(model, name)) for name in ("decoder", "joiner")}
        plain = {name: to_plain(part).cpu().float() for name, part in parts.items()}
        return TorchSession(SimpleNamespace(encoder=model.encoder, **plain))


def _context_network(decoder: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """contexts (N, context_size) -> decoder_out (N, D'), as fast as the decoder allows."""
    if isinstance(decoder, StatelessDecoder):
        return SingleContextDecoder(decoder)
    return lambda contexts: decoder(contexts, need_pad=False).squeeze(1)


def _numpy_states(states: Mapping[str, torch.Tensor]) -> dict[str, Float32Array]:
    return {name: state.numpy() for name, state in states.items()}
