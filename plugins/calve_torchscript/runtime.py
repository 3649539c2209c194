"""Runs what torch itself loads: TorchScript files, and weights alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calve.api import BundleError
from calve.bundle import Bundle
from calve.checkpoint import CheckpointChoice
from calve.discovery import load_driver
from calve.models import load
from calve.protocols import Session, States
from calve.states import join_states, select_states
from calve_torchscript.layout import WEIGHTS_FILE, load_networks

__all__ = ["STATES_REPORT", "RnnSession", "StateDictRuntime", "TorchscriptRuntime"]

# Said once per process for every projected LSTM on a CPU; there is nothing to be done about it.
warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")

Float32Array = NDArray[np.float32]

STATES_REPORT = "states"
"""Key in the manifest's ``steps``: the encoder's own names of its states, in order."""

_STREAM_AXIS = 1

_CPU = torch.device("cpu")


class RnnSession:
    """A loaded TorchScript bundle with an encoder of class RNN; a `calve.protocols.Session`.

    It calls what sherpa calls. States are (L, N, D) and (L, N, H).
    """

    def __init__(self, bundle: Bundle, networks: dict[str, Any]) -> None:
        manifest = bundle.manifest
        self.geometry = manifest.geometry
        self.feature_dim = manifest.features.num_mel_bins
        self.blank_id = self.initial_symbol = manifest.blank_id
        self.context_size = manifest.context_size
        self.vocab_size = manifest.vocab_size
        self._encoder = networks["encoder"]
        self._decoder = networks["decoder"]
        self._joiner = networks["joiner"]
        self._state_names: list[str] = manifest.steps[STATES_REPORT]

    @torch.inference_mode()
    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        return self._named(self._encoder.get_init_states(batch_size, _CPU))

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, _STREAM_AXIS)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, _STREAM_AXIS)

    @torch.inference_mode()
    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C) -> encoder_out (N, T', D), next states."""
        x = torch.from_numpy(features)
        x_lens = torch.full((x.size(0),), x.size(1))
        tensors = tuple(torch.from_numpy(states[name]) for name in self._state_names)
        encoder_out, _, next_states = self._encoder(x, x_lens, tensors)
        return encoder_out.numpy(), self._named(next_states)

    @torch.inference_mode()
    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size), -1 = no symbol -> decoder_out (N, D')."""
        decoder_out: torch.Tensor = self._decoder(torch.from_numpy(contexts), False)
        return decoder_out.squeeze(1).numpy()

    @torch.inference_mode()
    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""
        logits: torch.Tensor = self._joiner(
            torch.from_numpy(encoder_out), torch.from_numpy(decoder_out)
        )
        return logits.numpy()

    def _named(self, states: tuple[torch.Tensor, torch.Tensor]) -> States:
        arrays = (state.numpy() for state in states)
        return dict(zip(self._state_names, arrays, strict=True))


_SESSIONS = {"RNN": RnnSession}
"""How to call an encoder, by its class."""


class TorchscriptRuntime:
    """The driver ``torchscript`` in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1) -> Session:
        """Load a bundle.

        Args:
          bundle: An opened TorchScript bundle.
          num_threads: Threads of torch; torch has one number for the whole process.

        Raises:
          BundleError: if its networks cannot be loaded, or are of an unknown class.
        """
        torch.set_num_threads(num_threads)
        networks = load_networks(bundle.path)
        name = networks["encoder"].original_name
        session = _SESSIONS.get(name)
        if session is None or STATES_REPORT not in bundle.manifest.steps:
            raise BundleError(
                f"calve cannot stream through an encoder of class {name}",
                where=bundle.path,
                fix="export the bundle again",
            )
        return session(bundle, networks)


class StateDictRuntime:
    """The driver ``state-dict`` in the namespace ``calve.runtimes``: the live model."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1) -> Session:
        """Build the model of the bundle's recipe and load its weights.

        Raises:
          CheckpointError: if the weights cannot be read or do not fit.
          PluginError: if the recipe is not installed.
        """
        manifest = bundle.manifest
        checkpoint = CheckpointChoice(checkpoint=str(bundle.path / WEIGHTS_FILE))
        loaded = load(manifest.recipe, checkpoint, manifest.config)
        session: Session = load_driver("calve.runtimes", "torch").open(
            loaded, num_threads=num_threads
        )
        return session
