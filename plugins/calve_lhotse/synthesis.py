"""Speech from the synthesizers espeak-ng and flite, where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calve.api import AudioError, DataError
from calve.data.audio import Float32Array, read_audio

__all__ = ["Reading", "draw_reading", "installed_synthesizers", "speak"]

_ESPEAK_ACCENTS = (
    *("en-us", "en-us", "en-us", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-scotland"),
    *("en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
)
_ESPEAK_VARIANTS = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "Andy", "Annie", "linda", "belinda", "steph"),
    *("Alex", "adam", "benjamin", "caleb", "david", "ed", "edward", "gustave", "iven", "john"),
    *("max", "miguel", "norbert", "pablo", "paul", "quincy", "rob", "robert", "zac"),
)
_FLITE_VOICES = ("kal", "kal16", "awb", "rms", "slt")
_LONGEST_SECONDS = 60


@dataclass(frozen=True)
class Reading:
    """One text, and how it is to be spoken.

    Attributes:
      text: Words.
      synthesizer: "espeak-ng" or "flite".
      voice: The voice's name there.
      rate: How fast, relative to the synthesizer's normal speed.
      pitch: espeak-ng's pitch (0 to 99), flite's mean fundamental frequency in Hz.
      pause: Extra time between words in units of 10 ms (espeak-ng only).
    """

    text: str
    synthesizer: str
    voice: str
    rate: float = 1.0
    pitch: int = 50
    pause: int = 0

    @property
    def speaker(self) -> str:
        """The voice as a speaker's name."""
        return f"{self.synthesizer}-{self.voice}".replace("+", "-")


def installed_synthesizers() -> tuple[str, ...]:
    """Those of espeak-ng and flite that are on the PATH."""
    return tuple(name for name in ("espeak-ng", "flite") if shutil.which(name))


def draw_reading(text: str, synthesizers: Iterable[str], generator: np.random.Generator) -> Reading:
    """A random voice, speed and pitch for ``text``."""
    names = list(synthesizers)
    # espeak-ng has dozens of voices, flite five that sound more alike: three to one.
    weights = np.array([3.0 if name == "espeak-ng" else 1.0 for name in names])
    if names[generator.choice(len(names), p=weights / weights.sum())] == "flite":
        return Reading(
            text,
            "flite",
            voice=_pick(_FLITE_VOICES, generator),
            rate=generator.uniform(0.75, 1.3),
            pitch=int(generator.integers(85, 220)),
        )
    variant = _pick(_ESPEAK_VARIANTS, generator)
    accent = _pick(_ESPEAK_ACCENTS, generator)
    return Reading(
        text,
        "espeak-ng",
        voice=f"{accent}+{variant}" if variant else accent,
        rate=generator.uniform(0.6, 1.3),
        pitch=int(generator.integers(15, 90)),
        pause=int(generator.integers(0, 15)),
    )


def speak(reading: Reading, wav: Path) -> Float32Array:
    """Synthesize a reading by way of the file ``wav``.

    Returns:
      (n,) float32 samples at 16 kHz.

    Raises:
      DataError: if the synthesizer fails or says nothing.
    """
    try:
        subprocess.run(
            _command(reading, wav),
            check=True,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
        )
        return read_audio(wav).samples
    except (OSError, subprocess.SubprocessError, AudioError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        raise DataError(
            f"{reading.synthesizer} cannot speak with voice {reading.voice!r}: {detail[-300:]}",
            fix="check its installation, or prepare with --synthetic-fraction 0",
        ) from error
    finally:
        wav.unlink(missing_ok=True)


def _command(reading: Reading, wav: Path) -> list[str]:
    if reading.synthesizer == "flite":
        return [
            *("flite", "-voice", reading.voice, "-t", reading.text, "-o", str(wav)),
            *("--setf", f"duration_stretch={1 / reading.rate:.3f}"),
            *("--setf", f"int_f0_target_mean={reading.pitch}"),
        ]
    return [
        *("espeak-ng", "-z", "-v", reading.voice, "-s", str(round(175 * reading.rate))),
        *("-p", str(reading.pitch), "-g", str(reading.pause), "-w", str(wav), reading.text),
    ]


def _pick(choices: tuple[str, ...], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]
