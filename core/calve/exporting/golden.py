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

from calve.common.files import atomic_file
from calve.data.audio import read_audio
from calve.data.geometry import StreamingGeometry
from calve.errors import BundleError
from calve.exporting.parity import Observation, observe, observe_offline
from calve.registry.specs import RecipeSpec

__all__ = ["Golden", "golden_pcm", "pcm_samples"]

Float32Array = NDArray[np.float32]

_SECONDS = 3.0
_FULL_SCALE = 32768
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

    def observe_again(self, session: Any, geometry: StreamingGeometry) -> Observation:
        """What a session answers when it is observed as in ``observation``.

        Args:
          session: A `calve.protocols.StreamingSession` or, if whole utterances were observed, an
            `OfflineSession`.
          geometry: How the encoder steps; only its chunk may be another one than it was.
        """
        chunk_ms = self.observation.chunk_ms
        if chunk_ms is None:
            return observe_offline(session, self.features)
        return observe(session, self.features, geometry.with_chunk_ms(chunk_ms))

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


def golden_pcm(recipe: RecipeSpec, sample_rate: int) -> NDArray[np.int16]:
    """At most three seconds of audio to check a model of this recipe on, (n,) int16.

    The recipe's own demo recording if it has one, else vowel-like sound made from formulas: what
    it says does not matter, only that every network is driven as speech drives it. It lasts whole
    tenths of a second: clients disagree on whether a segment may end with the very last frame.
    """
    longest = round(_SECONDS * sample_rate)
    samples = _demo_recording(recipe, sample_rate)
    if samples is None:
        samples = _vowels(longest, sample_rate)
    tenth = sample_rate // 10
    count = min(len(samples), longest) // tenth * tenth
    scaled = (samples[:count] * _FULL_SCALE).round().clip(-_FULL_SCALE, _FULL_SCALE - 1)
    return np.asarray(scaled, dtype=np.int16)


def pcm_samples(pcm: NDArray[np.int16]) -> Float32Array:
    """The same audio as float32 at full scale [-1, 1]."""
    return np.asarray(pcm / _FULL_SCALE, dtype=np.float32)


def _demo_recording(recipe: RecipeSpec, sample_rate: int) -> Float32Array | None:
    for pretrained in recipe.pretrained:
        if pretrained.recordings is None:
            continue
        with pretrained.recordings.as_file() as folder:
            for path in sorted(folder.glob("*.wav")):
                return read_audio(path, sample_rate).samples
    return None


def _vowels(count: int, sample_rate: int) -> Float32Array:
    """Harmonics of a gliding pitch under moving formants, with pauses and faint noise."""
    seconds = np.arange(count) / sample_rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    formants = (
        500 + 250 * np.sin(2 * np.pi * 1.3 * seconds),
        1500 + 600 * np.sin(2 * np.pi * 0.9 * seconds),
    )
    sound = np.zeros(count)
    for harmonic in range(1, 25):
        frequency = harmonic * pitch
        gain = sum(np.exp(-(((frequency - formant) / 150) ** 2)) for formant in formants)
        sound += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 1.6 * seconds) + 0.4, 0, 1)
    noise = np.random.default_rng(0).normal(scale=0.003, size=count)
    return np.asarray(0.1 * sound * syllables + noise, dtype=np.float32)
