"""Tries a bundle in a child process before its networks run in this one.

A network is native code with numbers from a file. One that is not what its bundle says may take the
process down, loop for ever or ask for all memory. In a child that is a message.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from os import PathLike
from pathlib import Path

from calve.bundles.bundle import Bundle
from calve.common.children import Child, run_children
from calve.common.files import scratch_folder
from calve.common.trust import trusting, trusts_files
from calve.errors import BundleError
from calve.protocols import Session
from calve.registry.discovery import load_driver

__all__ = ["mark_tried", "open_session", "try_bundle"]

_TRIED = "CALVE_TRIED"
"""Environment variable with the bundles that were tried already; child processes know it too."""

_SECONDS = 30.0
_SECONDS_PER_MEGABYTE = 0.2
_MEMORY = 16 * 2**30
_MEMORY_PER_BYTE = 16


def open_session(
    path: str | PathLike[str], *, num_threads: int = 1, trust: bool = False
) -> Session:
    """Open a bundle and load its networks, after a trial run in a child process.

    Args:
      path: The bundle's directory.
      num_threads: CPU threads for the runtime.
      trust: Whether to load the networks without the trial, and TorchScript without reading first
        what its code does.

    Returns:
      A `calve.protocols.StreamingSession`, or an `OfflineSession` if the bundle is for whole
      utterances.

    Raises:
      BundleError: if the bundle is missing, foreign or damaged, or its networks fail in the trial.
    """
    bundle = Bundle.open(path)
    with trusting(trust):
        try_bundle(bundle, num_threads=num_threads)
        return bundle.open_session(num_threads=num_threads)


def try_bundle(bundle: Bundle, *, num_threads: int = 1) -> None:
    """Load the networks of a bundle and take some steps with them, in a child process.

    Nothing is done if the user trusts the bundle, if it was tried before, or if its runtime builds
    the networks from calve's own code and reads weights only (``own_networks`` of the driver).

    Args:
      bundle: An opened bundle.
      num_threads: Threads of the runtime.

    Raises:
      BundleError: if the child crashes, fails in an unexpected way, or reaches a limit. What the
        runtime itself finds wrong is left to whoever opens the bundle.
      PluginError: if the runtime is not installed.
    """
    driver = load_driver("calve.runtimes", bundle.manifest.runtime)
    if trusts_files() or getattr(driver, "own_networks", False) or _fingerprint(bundle) in _tried():
        return
    size = sum(record.size for record in bundle.manifest.files.values())
    task = {"bundle": str(bundle.path.resolve()), "num_threads": num_threads}
    with scratch_folder("calve-trial-") as folder:
        ran = folder / "ran"
        child = Child(
            name="trial",
            command=[sys.executable, "-m", "calve.bundles.trial_child", str(ran)],
            folder=folder,
            time_limit=_SECONDS + _SECONDS_PER_MEGABYTE * size / 1e6,
            input=json.dumps(task),
            memory_limit=_MEMORY + _MEMORY_PER_BYTE * size,
        )
        (outcome,) = run_children([child])
        # Native code may end a process with code 0, and would end this one too.
        failure = outcome.failure or (None if ran.exists() else "ended too early")
    if failure:
        raise BundleError(
            f"the networks cannot be run: a process that tried {failure}; the end of its "
            f"log:\n{outcome.tail}",
            where=bundle.path,
            fix="copy or export the bundle again",
        )
    mark_tried(bundle)


def mark_tried(bundle: Bundle) -> None:
    """Do not try a bundle, as it is now, in this process and in its children.

    It was tried, or calve has just written it and run its networks.
    """
    os.environ[_TRIED] = ",".join([*_tried(), _fingerprint(bundle)])


def _tried() -> list[str]:
    return [name for name in os.environ.get(_TRIED, "").split(",") if name]


def _fingerprint(bundle: Bundle) -> str:
    """Another one as soon as a file of the bundle changes."""
    states = []
    for path in [bundle.path, *sorted(bundle.path.iterdir())]:
        status = path.lstat()
        states.append((str(Path(path).resolve()), status.st_ino, status.st_mtime_ns))
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]
