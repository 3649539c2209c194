"""Clients in child processes, so that a crash becomes an error message."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from calve.bundles.bundle import MANIFEST_FILE, read_manifest
from calve.common.children import Child, run_children
from calve.common.files import scratch_folder
from calve.data.audio import audio_duration
from calve.data.features import FeatureConfig
from calve.errors import BundleError, PluginError
from calve.protocols import ClientResult

__all__ = ["Client"]

_BASE_TIME_LIMIT = 120.0
_MAX_RTF = 20.0
"""Multiple of real time after which a client counts as hanging."""


@dataclass(frozen=True)
class Client:
    """A client: a package of another project, and calve's module that drives it.

    Attributes:
      name: Name of the distribution, and of calve's extra that installs it.
      module: Name of its Python module.
      child: Module run as the child process, by means of `calve.bundles.client_child`.
    """

    name: str
    module: str
    child: str

    def installed_version(self) -> str | None:
        """Version of the installed distribution; None if there is none."""
        try:
            return version(self.name)
        except PackageNotFoundError:
            return None

    def check_installed(self) -> None:
        """Raise `PluginError` if the client cannot be imported."""
        if importlib.util.find_spec(self.module) is None:
            fix = f"pip install 'calve[{self.name}]'"
            raise PluginError(f"{self.name} is not installed", fix=fix)

    def transcribe(
        self,
        bundle_dir: Path,
        files: Mapping[str, Any],
        paths: Sequence[Path],
        *,
        num_threads: int,
        tail_seconds: float,
    ) -> list[ClientResult]:
        """Transcribe recordings in the child.

        Args:
          bundle_dir: The bundle. The task's ``sample_rate`` is that of its features; 16000 without
            a ``bundle.json``.
          files: The entries of the task with the paths of networks and symbols.
          paths: Recordings.
          num_threads: CPU threads.
          tail_seconds: Seconds of silence appended to each recording.

        Raises:
          PluginError: if the client is not installed.
          BundleError: if it crashes, hangs or fails on the bundle.
          AudioError: if a recording cannot be read.
        """
        self.check_installed()
        # Unreadable recordings are errors of the caller, reported before the child starts.
        seconds = sum(audio_duration(path) + tail_seconds for path in paths)
        task = {
            **files,
            "paths": [str(path.resolve()) for path in paths],
            "sample_rate": _sample_rate(bundle_dir),
            "num_threads": num_threads,
            "tail_seconds": tail_seconds,
        }
        with scratch_folder("calve-client-") as folder:
            child = Child(
                name=self.name,
                command=[sys.executable, "-m", self.child],
                folder=folder,
                time_limit=_BASE_TIME_LIMIT + _MAX_RTF * seconds,
                input=json.dumps(task),
                keep_stdout=True,
            )
            (outcome,) = run_children([child])
        # A child that ended within a line leaves no line end.
        lines = outcome.stdout.split("\n")[:-1]
        # For a model that it rejects, a client may end the process with exit code 0.
        failure = outcome.failure or ("stopped early" if len(lines) < len(paths) else None)
        if failure:
            raise BundleError(
                f"{self.name} {self.installed_version()} {failure}; the end of its log:\n"
                f"{outcome.tail}",
                where=bundle_dir,
                fix=f"run `calve lint --runtime {self.name}` on the bundle",
            )
        return [
            ClientResult(path=str(path), **json.loads(line))
            for path, line in zip(paths, lines, strict=True)
        ]


def _sample_rate(bundle_dir: Path) -> int:
    """Return the sampling rate for the client; the networks do not contain it."""
    if not (bundle_dir / MANIFEST_FILE).exists():
        return FeatureConfig().sample_rate
    return read_manifest(bundle_dir).features.sample_rate
