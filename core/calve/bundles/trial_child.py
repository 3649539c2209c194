"""Child process that takes some steps with the networks of a bundle; it may crash.

Reads ``{"bundle": str, "num_threads": int}`` from stdin. If they run, the exit code is 0 and there
is an empty file under the name that the only argument gives; also if calve itself finds something
wrong with the bundle: whoever opens it finds that as well, and can say it better.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calve.bundles.bundle import Bundle
from calve.bundles.observation import decoder_and_joiner, observe
from calve.common.exceptions import describe
from calve.common.printable import printable
from calve.errors import CalveError
from calve.protocols import OfflineSession

__all__ = ["main"]

_FRAMES = 100


def main() -> int:
    """Do what stdin says; the exit code."""
    task = json.load(sys.stdin)
    try:
        _run(Bundle.open(Path(task["bundle"])), task["num_threads"])
    except CalveError:
        pass
    # Networks of other shapes, types or names fail wherever their outputs are used.
    except Exception as error:
        print(printable(describe(error)), file=sys.stderr)
        return 1
    Path(sys.argv[1]).touch()
    return 0


def _run(bundle: Bundle, num_threads: int) -> None:
    manifest = bundle.manifest
    features = _noise(manifest.features.num_mel_bins)
    if manifest.streaming:
        session = bundle.open_streaming_session(num_threads=num_threads)
        observe(session, features, manifest.geometry)
        if manifest.geometry.dynamic:
            geometry = manifest.geometry.with_chunk_size(4)
            observe(session, features, geometry)
        return
    _run_offline(bundle.open_offline_session(num_threads=num_threads), features)


def _run_offline(session: OfflineSession, features: NDArray[np.float32]) -> None:
    frames, _ = session.encode(features[np.newaxis], np.array([len(features)], np.int64))
    decoder_and_joiner(session, frames[0], session.initial_symbol)


def _noise(bins: int) -> NDArray[np.float32]:
    """Filter banks about as loud as speech."""
    return np.random.default_rng(0).normal(-5, 3, (_FRAMES, bins)).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
