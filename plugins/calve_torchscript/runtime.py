"""Runtimes of the formats that torch loads: TorchScript files, and weights alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from calve.api import BundleError, CheckpointError
from calve.bundles.bundle import Bundle
from calve.protocols import LiveSession, OfflineSession, StreamingSession
from calve.services import CheckpointChoice, load, load_driver
from calve_torchscript.interface import OfflineEncoder
from calve_torchscript.layout import WEIGHTS_FILE, load_networks, present
from calve_torchscript.sessions import (
    INTERFACES,
    STATES_REPORT,
    OfflineTorchscriptSession,
    TorchscriptSession,
)

__all__ = ["StateDictRuntime", "TorchscriptRuntime"]

_PROFILED_STEPS = 2
"""After as many, torch's executor runs what it compiled."""


class TorchscriptRuntime:
    """The driver ``torchscript`` in the namespace ``calve.runtimes``."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1) -> StreamingSession | OfflineSession:
        """Load a bundle.

        Args:
          bundle: An opened TorchScript bundle.
          num_threads: Threads of torch while the session computes.

        Raises:
          BundleError: if its networks cannot be loaded, or are of an unknown class.
        """
        opened = _streaming_session if bundle.manifest.streaming else _offline_session
        with warnings.catch_warnings():
            # torch warns once, in the first step, that oneDNN has no projected LSTM.
            warnings.simplefilter("ignore")
            return opened(bundle, load_networks(bundle.path), num_threads)


def _streaming_session(
    bundle: Bundle, networks: dict[str, Any], num_threads: int
) -> StreamingSession:
    interface = INTERFACES.get(networks["encoder"].original_name)
    if interface is None or STATES_REPORT not in bundle.manifest.steps:
        raise _unknown_class(bundle, networks)
    session = TorchscriptSession(bundle, networks, interface, num_threads)
    # Take the first steps here, in which torch profiles and compiles, not in somebody's stream.
    segment = np.zeros((1, session.geometry.segment, session.feature_dim), np.float32)
    states = session.init_states()
    for _ in range(_PROFILED_STEPS + 1):
        _, states = session.encode_chunk(segment, states)
    return session


def _offline_session(bundle: Bundle, networks: dict[str, Any], num_threads: int) -> OfflineSession:
    if networks["encoder"].original_name != OfflineEncoder.__name__:
        raise _unknown_class(bundle, networks)
    session = OfflineTorchscriptSession(bundle, networks, num_threads)
    # As above: not in somebody's first utterance.
    segment = np.zeros((1, session.geometry.segment, session.feature_dim), np.float32)
    for _ in range(_PROFILED_STEPS + 1):
        session.encode(segment, np.array([session.geometry.segment]))
    return session


def _unknown_class(bundle: Bundle, networks: dict[str, Any]) -> BundleError:
    use = "stream through" if bundle.manifest.streaming else "see whole utterances with"
    return BundleError(
        f"calve cannot {use} an encoder of class {networks['encoder'].original_name}",
        where=bundle.path,
        fix="export the bundle again",
    )


class StateDictRuntime:
    """The driver ``state-dict`` in the namespace ``calve.runtimes``: the live model."""

    own_networks = True
    """The file holds weights only; `calve.bundles.trial` has nothing to try."""

    @staticmethod
    def open(bundle: Bundle, *, num_threads: int = 1) -> LiveSession:
        """Build the model of the bundle's recipe and load its weights.

        Raises:
          BundleError: if the weights are missing, cannot be read or do not fit.
          PluginError: if the recipe is not installed.
        """
        manifest, weights = bundle.manifest, present(bundle.path / WEIGHTS_FILE)
        try:
            checkpoint = CheckpointChoice(checkpoint=str(weights))
            loaded = load(manifest.recipe, checkpoint, manifest.config)
        except CheckpointError as error:
            raise BundleError(
                f"cannot load the weights: {error.what}",
                where=weights,
                fix="copy or export the bundle again",
            ) from error
        session: LiveSession = load_driver("calve.runtimes", "torch").open(
            loaded, num_threads=num_threads
        )
        return session
