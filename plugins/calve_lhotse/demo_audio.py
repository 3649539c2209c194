"""Demo recordings: connected digits from speech synthesizers.

    python -m calve_lhotse.demo_audio FOLDER

writes one WAV for each reading below and ``transcripts.txt`` (name, tab, words). The voices are
among those that ``calve prepare fsdd`` trains on; these utterances are not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from calve.api import CalveError, ConfigError, DataError
from calve.common.files import atomic_dir
from calve_lhotse.augmentation import SAMPLE_RATE
from calve_lhotse.synthesis import Reading, installed_synthesizers, speak

__all__ = ["READINGS", "write_demo"]

READINGS = {
    "espeak-american-man": Reading(
        "three one four one five nine", "espeak-ng", "en-us+m3", 0.8, 40
    ),
    "espeak-american-woman": Reading(
        "two seven one eight two eight", "espeak-ng", "en-us+f2", 0.85, 60
    ),
    "espeak-british-man": Reading("one six one eight", "espeak-ng", "en-gb+m7", 0.8, 45, 5),
    "espeak-scottish-man": Reading("four six six nine two", "espeak-ng", "en-gb-scotland", 0.8, 50),
    "flite-rms": Reading("zero five seven seven two one", "flite", "rms", 1.1, 100),
    "flite-slt": Reading("nine eight six zero four", "flite", "slt", 1.0, 170),
    "flite-awb": Reading("eight three two", "flite", "awb", 1.0, 120),
    "flite-kal": Reading("seven zero nine five", "flite", "kal16", 0.95, 105),
}

_SILENCE_S = (0.3, 0.5)
_PEAK = 0.5


def write_demo(folder: Path, readings: dict[str, Reading]) -> int:
    """Synthesize readings as 16-bit WAVs at 16 kHz into a new folder, with their transcripts.

    Returns:
      The bytes written.

    Raises:
      DataError: if a synthesizer is missing or fails.
    """
    missing = {reading.synthesizer for reading in readings.values()} - {*installed_synthesizers()}
    if missing:
        raise DataError(
            f"{' and '.join(sorted(missing))} not found",
            fix=f"Debian: apt-get install {' '.join(sorted(missing))}",
        )
    with atomic_dir(folder) as temporary:
        for name, reading in readings.items():
            wav = temporary / f"{name}.wav"
            soundfile.write(wav, _between_silence(speak(reading, wav)), SAMPLE_RATE, "PCM_16")
        lines = [f"{name}.wav\t{reading.text}\n" for name, reading in readings.items()]
        (temporary / "transcripts.txt").write_text("".join(lines), encoding="utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


def _between_silence(samples: np.ndarray) -> np.ndarray:
    before, after = (np.zeros(int(seconds * SAMPLE_RATE), np.float32) for seconds in _SILENCE_S)
    return np.concatenate([before, samples * (_PEAK / np.abs(samples).max()), after])


def main(arguments: Sequence[str]) -> None:
    """Write the demo recordings into the folder that the command line names."""
    if len(arguments) != 1:
        raise ConfigError("one folder to create is needed")
    size = write_demo(Path(arguments[0]), READINGS)
    print(f"{len(READINGS)} recordings, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CalveError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
