"""Stage ``voices``: connected digits from speech synthesizers, as additional speakers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from calve.api import ConfigError
from calve_lhotse.augmentation import SAMPLE_RATE
from calve_lhotse.fsdd.plans import deal, generator_for, random_digits
from calve_lhotse.fsdd.recordings import read_manifests
from calve_lhotse.parallel import parallel_map
from calve_lhotse.stamps import stamp_of, stamped
from calve_lhotse.synthesis import Reading, draw_reading, installed_synthesizers, speak

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["SpokenReading", "read_voices", "voices"]

_LIST = "readings.jsonl"


@dataclass(frozen=True)
class SpokenReading:
    """A synthesized utterance that lies on the disk.

    Attributes:
      id: Unique in the corpus.
      speaker: The voice.
      text: The words.
      path: FLAC file, 16 kHz.
    """

    id: str
    speaker: str
    text: str
    path: Path


def voices(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``voices/*.flac`` and their list, or an empty list if there is no synthesizer."""
    synthesizers = installed_synthesizers()
    wanted = _utterances_wanted(options) if synthesizers else 0
    key = {
        "manifests": stamp_of(options.data_dir / "manifests", "manifests"),
        "seed": options.seed,
        "utterances": wanted,
        "synthesizers": synthesizers,
    }
    with stamped(options.data_dir / "voices", key) as output:
        if output.is_new:
            readings = _draw(wanted, synthesizers, options.seed)
            parallel_map(
                partial(_speak_into, output.folder),
                readings,
                jobs=options.jobs,
                title="speaking digits",
                progress=progress,
            )
            lines = [json.dumps({"id": name} | asdict(reading)) for name, reading in readings]
            (output.folder / _LIST).write_text("".join(f"{line}\n" for line in lines))
            output.report.update(
                synthesizers=list(synthesizers),
                utterances=len(readings),
                voices=len({reading.voice for _, reading in readings}),
            )
            if not synthesizers:
                output.report["note"] = (
                    "neither espeak-ng nor flite is installed: no synthetic voices, and strangers "
                    "will be recognized less well (Debian: apt-get install espeak-ng flite)"
                )
    return output.report


def read_voices(data_dir: Path) -> list[SpokenReading]:
    """What stage ``voices`` wrote, in order."""
    folder = data_dir / "voices"
    stamp_of(folder, "voices")
    entries = map(json.loads, (folder / _LIST).read_text().splitlines())
    return [
        SpokenReading(
            entry["id"],
            _reading(entry).speaker,
            entry["text"],
            folder / f"{entry['id']}.flac",
        )
        for entry in entries
    ]


def _utterances_wanted(options: FsddOptions) -> int:
    """How many make up the wanted share beside the recorded utterances."""
    if not 0 <= options.synthetic_fraction < 1:
        raise ConfigError(
            f"a synthetic fraction of {options.synthetic_fraction} is not in [0, 1)",
            where="--synthetic-fraction",
        )
    train = read_manifests(options.data_dir)["train"]
    recorded = sum(1 for _ in deal("train", train, options.train_variants, options.seed))
    share = options.synthetic_fraction
    return round(recorded * share / (1 - share))


def _draw(count: int, synthesizers: tuple[str, ...], seed: int) -> list[tuple[str, Reading]]:
    drawn = []
    for index in range(count):
        name = f"train-synthetic-{index:05d}"
        generator = generator_for(seed, f"voice of {name}")
        drawn.append((name, draw_reading(random_digits(generator), synthesizers, generator)))
    return drawn


def _speak_into(folder: Path, named: tuple[str, Reading]) -> None:
    name, reading = named
    samples = speak(reading, folder / f"{name}.wav")
    # flite overshoots full scale with some pitches.
    peak = max(1.0, float(abs(samples).max()))
    soundfile.write(folder / f"{name}.flac", samples / peak, SAMPLE_RATE)


def _reading(entry: dict[str, object]) -> Reading:
    fields = {name: value for name, value in entry.items() if name != "id"}
    return Reading(**fields)  # type: ignore[arg-type]
