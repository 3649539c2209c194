"""The client sherpa-ncnn, in a child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calve.bundles.clients import Client
from calve.protocols import ClientResult

__all__ = ["SHERPA_NCNN", "transcribe"]

SHERPA_NCNN = Client("sherpa-ncnn", "sherpa_ncnn", "calve_ncnn.sherpa_child")


def transcribe(
    bundle_dir: Path, paths: Sequence[Path], *, num_threads: int = 1, tail_seconds: float = 0.0
) -> list[ClientResult]:
    """Transcribe recordings with `sherpa_ncnn.Recognizer` and greedy search.

    Args:
      bundle_dir: The bundle, or any directory with icefall's file names.
      paths: Recordings; read and resampled as `calve transcribe` does.
      num_threads: CPU threads.
      tail_seconds: Seconds of silence appended to each recording.

    Raises:
      PluginError: if sherpa-ncnn is not installed.
      BundleError: if it crashes, hangs or fails on the bundle.
      AudioError: if a recording cannot be read.
    """
    files = {"bundle": str(bundle_dir.resolve())}
    return SHERPA_NCNN.transcribe(
        bundle_dir, files, paths, num_threads=num_threads, tail_seconds=tail_seconds
    )
