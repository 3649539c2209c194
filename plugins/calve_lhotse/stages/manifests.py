"""Manifests of corpora of sentences, and their checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

from calve.api import DataError
from calve.common.files import atomic_file
from calve.data.features import FeatureConfig
from calve_lhotse.corpus import Corpus

__all__ = ["check_recordings", "check_supervisions", "write_corpus", "write_part"]


def write_part(
    folder: Path,
    name: str,
    part: str,
    recordings: Sequence[Recording],
    supervisions: Sequence[SupervisionSegment],
) -> Mapping[str, object]:
    """Write the recordings and supervisions of a part, checked.

    Returns:
      What was written, for the stage's report.

    Raises:
      DataError: as `check_recordings` and `check_supervisions`.
    """
    check_supervisions(part, supervisions)
    check_recordings(part, recordings)
    for kind, manifest in (
        ("recordings", RecordingSet.from_recordings(recordings)),
        ("supervisions", SupervisionSet.from_segments(supervisions)),
    ):
        manifest.to_file(folder / f"{name}_{kind}_{part}.jsonl.gz")
    return {
        "utterances": len(supervisions),
        "speakers": len({supervision.speaker for supervision in supervisions} - {None}),
        "hours": round(sum(supervision.duration for supervision in supervisions) / 3600, 3),
    }


def write_corpus(data_dir: Path, corpus: Corpus) -> None:
    """Write down which parts there are, when all of them are there."""
    path, text = Corpus.path(data_dir), corpus.to_json()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_recordings(part: str, recordings: Sequence[Recording]) -> None:
    """All recordings must be at the rate that features are computed at.

    Raises:
      DataError: if one is not, or there is none; names the first.
    """
    rates = Counter(recording.sampling_rate for recording in recordings)
    expected = FeatureConfig().sample_rate
    if not rates:
        raise DataError(f"{part} has no recordings")
    if {*rates} != {expected}:
        found = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(rates.items()))
        first = next(one.id for one in recordings if one.sampling_rate != expected)
        raise DataError(
            f"{part} has recordings that are not at {expected} Hz: {found}",
            where=f"recording {first}",
            fix=f"resample them to {expected} Hz, and make the manifests again",
        )


def check_supervisions(part: str, supervisions: Iterable[SupervisionSegment]) -> None:
    """Each name must occur once, each segment must last, and each must say something.

    Raises:
      DataError: for the first that is not so.
    """
    seen: set[str] = set()
    for supervision in supervisions:
        complaint = None
        if supervision.id in seen:
            complaint = "occurs twice"
        elif not (supervision.text or "").strip():
            complaint = "has no transcript"
        elif supervision.duration <= 0:
            complaint = "lasts no time"
        if complaint:
            raise DataError(
                f"an utterance of {part} {complaint}",
                where=supervision.id,
                fix="correct the manifests or the transcripts that they were made from",
            )
        seen.add(supervision.id)
    if not seen:
        raise DataError(
            f"{part} has no utterances",
            fix="leave this part out, or give it transcripts",
        )
