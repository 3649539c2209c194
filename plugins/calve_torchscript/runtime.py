"""Runs what torch itself loads: TorchScript files, and weights alone."""

from __future__ import annotations

import numpy as np
import torch

from calve.api import BundleError
from calve.bundle import Bundle
from calve.checkpoint import CheckpointChoice
from calve.discovery import load_driver
from calve.models import load
from calve.protocols import Session
from calve_torchscript.layout import WEIGHTS_FILE, load_networks
from calve_torchscript.sessions import INTERFACES, STATES_REPORT, TorchscriptSession

__all__ = ["StateDictRuntime", "TorchscriptRuntime"]

_PROFILED_STEPS = 2
"""After as many, torch's executor runs what it compiled."""


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
        interface = INTERFACES.get(name)
        if interface is None or STATES_REPORT not in bundle.manifest.steps:
            raise BundleError(
                f"calve cannot stream through an encoder of class {name}",
                where=bundle.path,
                fix="export the bundle again",
            )
        session = TorchscriptSession(bundle, networks, interface)
        _warm_up(session)
        return session


def _warm_up(session: TorchscriptSession) -> None:
    """Take the first steps here, in which torch profiles and compiles, not in somebody's stream."""
    segment = np.zeros((1, session.geometry.segment, session.feature_dim), np.float32)
    states = session.init_states()
    for _ in range(_PROFILED_STEPS + 1):
        _, states = session.encode_chunk(segment, states)


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
