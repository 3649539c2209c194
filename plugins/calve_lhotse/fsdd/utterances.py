"""Stage ``utterances``: connected digits as audio files, with their manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from calve.api import ConfigError, DataError
from calve_lhotse.augmentation import SAMPLE_RATE
from calve_lhotse.fsdd.plans import UtterancePlan, deal, generator_for
from calve_lhotse.fsdd.recordings import SPLITS, DigitRecording, read_manifests
from calve_lhotse.fsdd.rendering import REVISION, render
from calve_lhotse.fsdd.voices import SpokenReading, read_voices
from calve_lhotse.parallel import parallel_map
from calve_lhotse.stamps import stamp_of, stamped

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_lhotse.fsdd.options import FsddOptions

__all__ = ["plan_corpus", "utterances"]

_BABBLE_SHARE = 0.15
_BABBLE_RECORDINGS = 8


def utterances(options: FsddOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``audio/SPLIT/*.flac`` and ``audio/fsdd_{recordings,supervisions}_SPLIT.jsonl.gz``.

    Paths in the manifests are relative to the data directory, which may be moved.
    """
    key = {
        "manifests": stamp_of(options.data_dir / "manifests", "manifests"),
        "voices": stamp_of(options.data_dir / "voices", "voices"),
        "seed": options.seed,
        "variants": (options.train_variants, options.test_variants),
        "rendering": REVISION,
    }
    with stamped(options.data_dir / "audio", key) as output:
        if output.is_new:
            plans = plan_corpus(options)
            for split in SPLITS:
                (output.folder / split).mkdir()
            samples = parallel_map(
                partial(_write, output.folder, options.seed),
                [plan for split in SPLITS for plan in plans[split]],
                jobs=options.jobs,
                title="joining digits",
                progress=progress,
            )
            lengths = iter(samples)
            for split in SPLITS:
                durations = [next(lengths) for _ in plans[split]]
                _write_manifests(output.folder, split, plans[split], durations)
                output.report[split] = _summary(plans[split], durations)
    return output.report


def plan_corpus(options: FsddOptions) -> dict[str, list[UtterancePlan]]:
    """The utterances of every split; held-out recordings occur in ``heldout`` alone."""
    if min(options.train_variants, options.test_variants) < 1:
        raise ConfigError("each recording must occur at least once", where="--*-variants")
    recordings = read_manifests(options.data_dir)
    plans = {}
    for split in SPLITS:
        variants = options.train_variants if split == "train" else options.test_variants
        hands = deal(split, recordings[split], variants, options.seed)
        plans[split] = [_plan_hand(split, index, hand) for index, hand in enumerate(hands)]
    readings = read_voices(options.data_dir)
    train = plans["train"] + [_plan_reading(reading) for reading in readings]
    plans["train"] = list(_perturbed(train, recordings["train"], options.seed))
    return plans


def _plan_hand(split: str, index: int, hand: Sequence[DigitRecording]) -> UtterancePlan:
    speaker = hand[0].speaker
    name = f"{split}-{speaker}-{index:05d}"
    return UtterancePlan(
        id=name,
        speaker=speaker,
        text=" ".join(recording.word for recording in hand),
        pieces=tuple(recording.path for recording in hand),
        babble=(),
        perturbed=False,
        synthetic=False,
        target=Path(split, f"{name}.flac"),
    )


def _plan_reading(reading: SpokenReading) -> UtterancePlan:
    return UtterancePlan(
        id=reading.id,
        speaker=reading.speaker,
        text=reading.text,
        pieces=(reading.path,),
        babble=(),
        perturbed=True,
        synthetic=True,
        target=Path("train", f"{reading.id}.flac"),
    )


def _perturbed(
    plans: Sequence[UtterancePlan], recordings: Sequence[DigitRecording], seed: int
) -> Iterator[UtterancePlan]:
    """Training plans; some with other training speakers talking in the background."""
    for plan in plans:
        generator = generator_for(seed, f"babble of {plan.id}")
        others = [recording for recording in recordings if recording.speaker != plan.speaker]
        babble: tuple[Path, ...] = ()
        if others and generator.random() < _BABBLE_SHARE:
            chosen = generator.integers(0, len(others), size=_BABBLE_RECORDINGS)
            babble = tuple(others[index].path for index in chosen)
        yield replace(plan, perturbed=True, babble=babble)


def _write(folder: Path, seed: int, plan: UtterancePlan) -> int:
    """Render one utterance into its file; the number of samples."""
    samples = render(plan, seed)
    soundfile.write(folder / plan.target, samples, SAMPLE_RATE, subtype="PCM_16")
    return len(samples)


def _write_manifests(
    folder: Path, split: str, plans: Sequence[UtterancePlan], lengths: Sequence[int]
) -> None:
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
    from lhotse.audio import AudioSource

    recordings, supervisions = [], []
    for plan, length in zip(plans, lengths, strict=True):
        duration = length / SAMPLE_RATE
        source = AudioSource("file", channels=[0], source=str(Path("audio") / plan.target))
        recordings.append(Recording(plan.id, [source], SAMPLE_RATE, length, duration))
        supervisions.append(
            SupervisionSegment(
                id=plan.id,
                recording_id=plan.id,
                start=0.0,
                duration=duration,
                text=plan.text,
                language="English",
                speaker=plan.speaker,
                custom={
                    "pieces": [path.stem for path in plan.pieces],
                    "babble": [path.stem for path in plan.babble],
                },
            )
        )
    RecordingSet.from_recordings(recordings).to_file(folder / f"fsdd_recordings_{split}.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(
        folder / f"fsdd_supervisions_{split}.jsonl.gz"
    )


def _summary(plans: Sequence[UtterancePlan], lengths: Sequence[int]) -> dict[str, object]:
    if not plans:
        raise DataError("a split without utterances")
    return {
        "utterances": len(plans),
        "synthetic": sum(plan.synthetic for plan in plans),
        "words": sum(len(plan.text.split()) for plan in plans),
        "hours": round(float(np.sum(lengths)) / SAMPLE_RATE / 3600, 3),
    }
