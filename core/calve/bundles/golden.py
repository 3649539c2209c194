"""Golden data: an input and the expected output, stored in a bundle.

With it, ``calve verify`` checks a bundle on any machine with the bundle's own runtime: it needs
neither torch nor the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from calve.bundles.observation import Observation
from calve.common.files import atomic_file
from calve.errors import BundleError

__all__ = ["FULL_SCALE", "Golden", "pcm_samples"]

Float32Array = NDArray[np.float32]


FULL_SCALE = 32768
"""What an int16 sample of the largest loudness would be."""

_OUTPUT = "output:"
_NO_CHUNKS = 0
"""In place of milliseconds per chunk."""


@dataclass(frozen=True)
class Golden:
    """A short recording and what the model makes of it.

    Attributes:
      sample_rate: Samples per second.
      pcm: (n,) int16, the recording.
      features: (T, C) float32, its features.
      observation: What torch answered; its tokens are those of the bundle's own runtime.
    """

    sample_rate: int
    pcm: NDArray[np.int16]
    features: Float32Array
    observation: Observation

    def write_wav(self, path: Path) -> None:
        """The recording as a file, for clients that read files."""
        soundfile.write(path, self.pcm, self.sample_rate, subtype="PCM_16")

    def write(self, path: Path) -> None:
        """Store everything in one compressed ``.npz``."""
        arrays: dict[str, Any] = {
            "sample_rate": self.sample_rate,
            "pcm": self.pcm,
            "features": self.features,
            "chunk_ms": self.observation.chunk_ms or _NO_CHUNKS,
            "chunks": self.observation.chunks,
            "tokens": np.array(self.observation.tokens, dtype=np.int64),
        }
        for name, output in self.observation.outputs.items():
            arrays[_OUTPUT + name] = output
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Golden:
        """Inverse of `write`.

        Raises:
          BundleError: if the file is missing, truncated or no golden file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            observation = Observation(
                chunk_ms=int(arrays["chunk_ms"]) or None,
                chunks=int(arrays["chunks"]),
                outputs={
                    name.removeprefix(_OUTPUT): array
                    for name, array in arrays.items()
                    if name.startswith(_OUTPUT)
                },
                tokens=tuple(arrays["tokens"].tolist()),
            )
            return cls(
                sample_rate=int(arrays["sample_rate"]),
                pcm=arrays["pcm"],
                features=arrays["features"],
                observation=observation,
            )
        # Whatever a damaged archive makes its readers raise, the person needs one message.
        except Exception as error:
            raise BundleError(
                f"cannot read the golden input and output: {type(error).__name__}: {error}",
                where=path,
                fix="copy or export the bundle again",
            ) from error


def pcm_samples(pcm: NDArray[np.int16]) -> Float32Array:
    """The same audio as float32 at full scale [-1, 1]."""
    return np.asarray(pcm / FULL_SCALE, dtype=np.float32)
