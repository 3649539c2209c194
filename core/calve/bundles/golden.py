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
from calve.common.arrays import ArraySpec, array_names, read_arrays
from calve.common.exceptions import describe
from calve.common.files import atomic_file
from calve.common.printable import one_line
from calve.common.ranges import Range
from calve.errors import BundleError, ConfigError

__all__ = ["FULL_SCALE", "Golden", "pcm_samples"]

Float32Array = NDArray[np.float32]


FULL_SCALE = 32768
"""Value of an int16 sample at full scale."""

_OUTPUT = "output:"
_NO_CHUNKS = 0
"""Stored instead of milliseconds per chunk for whole utterances."""

_SPECS = {
    "sample_rate": ArraySpec("i", 0),
    "pcm": ArraySpec("int16", 1),
    "features": ArraySpec("float32", 2),
    "chunk_ms": ArraySpec("i", 0),
    "chunks": ArraySpec("i", 0),
    "tokens": ArraySpec("int64", 1),
}
# Some states count frames.
_OUTPUT_SPEC = ArraySpec("float32|int32|int64", None)
_RANGES = {
    "sample_rate": Range(1000, 768_000),
    "chunk_ms": Range(0, 3_600_000),
    "chunks": Range(1, 1_000_000),
}
_MOST_OUTPUTS = 256
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Golden:
    """A short recording and the model's outputs for it.

    Attributes:
      sample_rate: Samples per second.
      pcm: (n,) int16, the recording.
      features: (T, C) float32, its features.
      observation: The outputs of torch; the tokens are those of the bundle's own runtime.
    """

    sample_rate: int
    pcm: NDArray[np.int16]
    features: Float32Array
    observation: Observation

    def write_wav(self, path: Path) -> None:
        """Write the recording as a file, for clients that read files."""
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
            arrays = _arrays(Path(path))
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
        except (OSError, ValueError, ConfigError) as error:
            raise BundleError(
                f"cannot read the golden input and output: {one_line(describe(error))}",
                where=path,
                fix="copy or export the bundle again",
            ) from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a golden file, of the types that `Golden.write` gives them.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it is no golden file, or damaged.
      ConfigError: if a number is outside of its range.
    """
    outputs = [name for name in array_names(path) if name.startswith(_OUTPUT)]
    if len(outputs) > _MOST_OUTPUTS:
        raise ValueError(f"it has {len(outputs)} outputs, more than {_MOST_OUTPUTS}")
    expected = _SPECS | dict.fromkeys(outputs, _OUTPUT_SPEC)
    arrays = read_arrays(path, expected, max_bytes=_MOST_BYTES)
    for name, limits in _RANGES.items():
        limits.check(name, int(arrays[name]))
    if not arrays["features"].size or not arrays["pcm"].size:
        raise ValueError("its recording is empty")
    return arrays


def pcm_samples(pcm: NDArray[np.int16]) -> Float32Array:
    """Convert samples to float32 at full scale [-1, 1]."""
    return np.asarray(pcm / FULL_SCALE, dtype=np.float32)
