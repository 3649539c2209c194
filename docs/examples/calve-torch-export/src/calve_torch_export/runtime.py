"""Runs bundles of the format torch-export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calve.api import BundleError
from calve.protocols import States
from calve.protocols.states import join_states, select_states

__all__ = ["TorchExportRuntime", "TorchExportSession"]

Float32Array = NDArray[np.float32]


class TorchExportRuntime:
    """The driver ``torch-export`` in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Any, *, num_threads: int = 1) -> TorchExportSession:
        """Load the networks; torch has one number of threads for the whole process."""
        torch.set_num_threads(num_threads)
        return TorchExportSession(bundle)


class TorchExportSession:
    """Three programs; a `calve.protocols.StreamingSession`."""

    def __init__(self, bundle: Any) -> None:
        manifest = bundle.manifest
        self.geometry = manifest.geometry
        self.feature_dim = manifest.features.num_mel_bins
        self.blank_id = self.initial_symbol = manifest.blank_id
        self.context_size = manifest.context_size
        self.vocab_size = manifest.vocab_size
        self._shapes: dict[str, list[int]] = manifest.steps["states"]
        self._axes: dict[str, int] = manifest.steps["axes"]
        self._encoder, self._decoder, self._joiner = (
            _load(bundle.path / f"{network}.pt2") for network in ("encoder", "decoder", "joiner")
        )

    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        one = {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}
        return self.join_states([one] * batch_size)

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, self._axes)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, self._axes)

    @torch.inference_mode()
    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C) -> encoder_out (N, T', D), next states."""
        tensors = {name: torch.from_numpy(state) for name, state in states.items()}
        encoder_out, after = self._encoder(torch.from_numpy(features), tensors)
        return encoder_out.numpy(), {name: state.numpy() for name, state in after.items()}

    @torch.inference_mode()
    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size) -> decoder_out (N, D')."""
        decoder_out: Float32Array = self._decoder(torch.from_numpy(contexts)).numpy()
        return decoder_out

    @torch.inference_mode()
    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""
        networks = torch.from_numpy(encoder_out), torch.from_numpy(decoder_out)
        logits: Float32Array = self._joiner(*networks).numpy()
        return logits


def _load(path: Path) -> Callable[..., Any]:
    if not path.is_file():
        raise BundleError("the file is missing", where=path, fix="export the bundle again")
    return torch.export.load(path).module()
