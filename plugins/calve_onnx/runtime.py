"""Runs ONNX bundles with the pip package ``onnxruntime``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve.protocols import States
from calve.protocols.states import join_states, select_states
from calve_onnx.layout import find_network
from calve_onnx.network import OnnxNetwork

__all__ = ["STATES_REPORT", "OnnxRuntime", "OnnxSession"]

Float32Array = NDArray[np.float32]

STATES_REPORT = "states"
"""Key in the manifest's ``steps``: the encoder's own names of its states, in file order."""

_NO_SYMBOL = -1


class OnnxSession:
    """A loaded ONNX bundle; a `calve.protocols.Session`.

    Encoder and decoder outputs are projected already. States are those of the torch encoder.
    """

    initial_symbol = _NO_SYMBOL
    """sherpa-onnx starts like this."""

    def __init__(self, bundle: Bundle, *, num_threads: int) -> None:
        manifest = bundle.manifest
        self.geometry = manifest.geometry
        self.feature_dim = manifest.features.num_mel_bins
        self.blank_id = manifest.blank_id
        self.context_size = manifest.context_size
        self.vocab_size = manifest.vocab_size
        self._encoder, self._decoder, self._joiner = (
            OnnxNetwork(find_network(bundle.path, name), num_threads=num_threads)
            for name in ("encoder", "decoder", "joiner")
        )
        self._state_names = _state_names(bundle, self._encoder)
        self._stream_axes = {
            name: port.free_axes[0]
            for name, port in zip(self._state_names, self._encoder.inputs[1:], strict=True)
        }

    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        ports = self._encoder.inputs[1:]
        return {
            name: port.zeros(batch_size)
            for name, port in zip(self._state_names, ports, strict=True)
        }

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, self._stream_axes)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, self._stream_axes)

    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C), T as the geometry allows -> encoder_out (N, T', J), next states."""
        encoder_out, *next_states = self._encoder.run(
            features, *(states[name] for name in self._state_names)
        )
        return encoder_out, dict(zip(self._state_names, next_states, strict=True))

    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, J)."""
        (decoder_out,) = self._decoder.run(contexts)
        return decoder_out

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, J), decoder_out (N, J) -> logits (N, vocab_size)."""
        (logits,) = self._joiner.run(encoder_out, decoder_out)
        return logits


class OnnxRuntime:
    """The driver ``onnx`` in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1) -> OnnxSession:
        """Load a bundle.

        Args:
          bundle: An opened ONNX bundle.
          num_threads: CPU threads per network.

        Raises:
          PluginError: if ONNX Runtime is not installed.
          BundleError: if its networks cannot be loaded.
        """
        return OnnxSession(bundle, num_threads=num_threads)


def _state_names(bundle: Bundle, encoder: OnnxNetwork) -> Sequence[str]:
    recorded = bundle.manifest.steps.get(STATES_REPORT)
    if not isinstance(recorded, Sequence) or len(recorded) != len(encoder.inputs) - 1:
        raise BundleError(
            "the manifest does not say what states the encoder has",
            where=bundle.path,
            fix="export the bundle again",
        )
    return tuple(map(str, recorded))
