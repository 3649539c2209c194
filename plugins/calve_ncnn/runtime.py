"""Runs ncnn bundles with the pip package ``ncnn``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.api import BundleError, StreamingGeometry
from calve.bundles.bundle import Bundle
from calve.protocols import States
from calve.protocols.states import join_states, select_states
from calve_ncnn.architectures import architecture_of, encoder_outputs, first_state, has_frame_count
from calve_ncnn.metadata import store
from calve_ncnn.network import NcnnNetwork

__all__ = ["STATES_REPORT", "NcnnRuntime", "NcnnSession"]

Float32Array = NDArray[np.float32]

STATES_REPORT = "states"
"""Key in the manifest's ``steps``: shape of each encoder state without its batch axis, by name,
in the order of the blobs"""

_STREAM_AXIS = 0

_LARGEST_STATES = 2**24
"""Numbers in all states of a stream together; the largest encoders have a million."""


class NcnnSession:
    """A loaded ncnn bundle; a `calve.protocols.Session`.

    ncnn knows no batches, so N streams are N calls. States have the stream axis first.
    """

    def __init__(self, bundle: Bundle, *, num_threads: int, fp16: bool) -> None:
        manifest = bundle.manifest
        self.geometry: StreamingGeometry = manifest.geometry
        self.feature_dim = manifest.features.num_mel_bins
        self.blank_id = self.initial_symbol = manifest.blank_id
        self.context_size = manifest.context_size
        self.vocab_size = manifest.vocab_size
        self._state_shapes = _state_shapes(bundle)

        def load(name: str, inputs: int, *outputs: str) -> NcnnNetwork:
            return self._load_network(
                bundle.path, name, inputs, outputs, num_threads=num_threads, fp16=fp16
            )

        table, states = manifest.metadata, len(self._state_shapes)
        self._has_frame_count = has_frame_count(table)
        inputs = first_state(table) + states
        self._encoder = load("encoder", inputs, *encoder_outputs(table, states))
        self._decoder = load("decoder", 1, "out0")
        self._joiner = load("joiner", 2, "out0")

    def _load_network(
        self, bundle_dir: Path, name: str, inputs: int, outputs: Sequence[str], **options: Any
    ) -> NcnnNetwork:
        """Load one network; what runs in its place must take and return the same."""
        return NcnnNetwork(bundle_dir, name, inputs=inputs, outputs=outputs, **options)

    def init_states(self, batch_size: int = 1) -> States:
        """Zero states for ``batch_size`` streams."""
        return {
            name: np.zeros((batch_size, *shape), np.float32)
            for name, shape in self._state_shapes.items()
        }

    def select_states(self, states: States, rows: Sequence[int]) -> States:
        """The states of the streams in ``rows``, in that order."""
        return select_states(states, rows, _STREAM_AXIS)

    def join_states(self, parts: Sequence[States]) -> States:
        """The states of several groups of streams as one batch."""
        return join_states(parts, _STREAM_AXIS)

    def encode_chunk(self, features: Float32Array, states: States) -> tuple[Float32Array, States]:
        """features (N, T, C), T as the geometry allows -> encoder_out (N, T', D), next states."""
        count = (np.array([features.shape[1]], np.float32),) if self._has_frame_count else ()
        rows = [
            self._encoder.run(row, *count, *(states[name][index] for name in self._state_shapes))
            for index, row in enumerate(features)
        ]
        stacked = [_stack(parts) for parts in zip(*rows, strict=True)]
        return stacked[0], dict(zip(self._state_shapes, stacked[1:], strict=True))

    def decode_context(self, contexts: NDArray[np.int64]) -> Float32Array:
        """contexts (N, context_size) -> decoder_out (N, D').

        ncnn has no embedding for "no symbol": -1 is taken as the blank.
        """
        symbols = np.where(contexts < 0, self.blank_id, contexts).astype(np.int32)
        return _each(self._decoder.run, symbols)

    def join(self, encoder_out: Float32Array, decoder_out: Float32Array) -> Float32Array:
        """encoder_out (N, D), decoder_out (N, D') -> logits (N, vocab_size)."""
        return _each(self._joiner.run, encoder_out, decoder_out)


class NcnnRuntime:
    """The driver ``ncnn`` in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1, fp16: bool = False) -> NcnnSession:
        """Load a bundle.

        Args:
          bundle: An opened ncnn bundle.
          num_threads: CPU threads per network.
          fp16: Whether ncnn may calculate in float16 where the CPU can; less exact.

        Raises:
          BundleError: if its networks cannot be loaded.
        """
        return NcnnSession(bundle, num_threads=num_threads, fp16=fp16)


def _each(run: Callable[..., list[Float32Array]], *batches: NDArray[np.generic]) -> Float32Array:
    """Run a network with one flat output on each row."""
    return _stack([run(*rows)[0].reshape(-1) for rows in zip(*batches, strict=True)])


def _stack(parts: list[Float32Array] | tuple[Float32Array, ...]) -> Float32Array:
    # The usual single stream is not copied again.
    return parts[0][np.newaxis] if len(parts) == 1 else np.stack(parts)


def _state_shapes(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    recorded = bundle.manifest.steps.get(STATES_REPORT)
    if not isinstance(recorded, Mapping) or not all(map(_is_shape, recorded.values())):
        raise BundleError(
            "the manifest does not say what states the encoder has",
            where=bundle.path,
            fix="export the bundle again",
        )
    shapes = {name: tuple(shape) for name, shape in recorded.items()}
    if sum(map(math.prod, shapes.values())) > _LARGEST_STATES:
        raise _wrong_states(bundle, "the states in the manifest do not fit into memory")
    _check_states(bundle, shapes)
    return shapes


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(size, int) and size > 0 for size in value)


def _check_states(bundle: Bundle, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare with the network itself where its layers tell: ncnn reads beyond smaller states."""
    table = store.infer(bundle.path)
    architecture = architecture_of(table)
    if table is None or architecture is None:
        return
    expected = architecture.states(table)
    if list(shapes.values()) != expected:
        raise _wrong_states(
            bundle,
            f"the manifest says that the encoder has states of the shapes {[*shapes.values()]}; "
            f"its layers need {expected}",
        )


def _wrong_states(bundle: Bundle, what: str) -> BundleError:
    return BundleError(what, where=bundle.path, fix="copy or export the bundle again")
