"""The client sherpa-onnx, in a child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calve.bundles.bundle import TOKENS_FILE
from calve.bundles.clients import Client
from calve.protocols import ClientResult
from calve_onnx.layout import NETWORKS, find_network

__all__ = ["SHERPA_ONNX", "transcribe"]

SHERPA_ONNX = Client("sherpa-onnx", "sherpa_onnx", "calve_onnx.sherpa_child")


def transcribe(
    bundle_dir: Path, paths: Sequence[Path], *, num_threads: int = 1, tail_seconds: float = 0.0
) -> list[ClientResult]:
    """Transcribe recordings with `sherpa_onnx.OnlineRecognizer` and greedy search.

    Args:
      bundle_dir: The bundle, or any directory with the same file names.
      paths: Recordings; read and resampled as `calve transcribe` does.
      num_threads: CPU threads.
      tail_seconds: Seconds of silence appended to each recording.

    Raises:
      PluginError: if sherpa-onnx is not installed.
      BundleError: if a network is missing, or sherpa-onnx crashes, hangs or fails on the bundle.
      AudioError: if a recording cannot be read.
    """
    SHERPA_ONNX.check_installed()
    files = {
        "networks": {name: str(find_network(bundle_dir, name).resolve()) for name in NETWORKS},
        "tokens": str((bundle_dir / TOKENS_FILE).resolve()),
    }
    return SHERPA_ONNX.transcribe(
        bundle_dir, files, paths, num_threads=num_threads, tail_seconds=tail_seconds
    )
