"""Manifests of corpora of sentences, and their checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.utils import fastcopy

from calve.api import DataError
from calve.common.files import atomic_file
from calve.data.features import FeatureConfig
from calve.data.text import normalized
from calve_lhotse.corpus import Corpus

__all__ = ["check_recordings", "check_supervisions", "write_corpus", "write_part"]

# What transcribers write for noises and unintelligible words: <unk>, <sil>, [laughter].
_TAG = re.compile(r"<[^<>]+>|\[[^\[\]]+\]")


def write_part(
    folder: Path,
    name: str,
    part: str,
    recordings: Sequence[Recording],
    supervisions: Iterable[SupervisionSegment],
    *,
    drop_tags: Sequence[str] = (),
) -> Mapping[str, object]:
    """Write the recordings and supervisions of a part, checked.

    The transcripts are written in Unicode's normal form C.

    Args:
      folder: Where to write.
      name: The corpus, as in the names of the files.
      part: The part, as in the names of the files.
      recordings: The recordings.
      supervisions: The utterances.
      drop_tags: Words that are left out of the transcripts, such as ``<unk>``.

    Returns:
      What was written, for the stage's report.

    Raises:
      DataError: as `check_recordings` and `check_supervisions`.
    """
    supervisions = [_cleaned(supervision, drop_tags) for supervision in supervisions]
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


def _cleaned(supervision: SupervisionSegment, drop_tags: Sequence[str]) -> SupervisionSegment:
    words = normalized(str(supervision.text or "")).split()
    return fastcopy(supervision, text=" ".join(word for word in words if word not in drop_tags))


def check_supervisions(part: str, supervisions: Iterable[SupervisionSegment]) -> None:
    """Each name must occur once, each segment must last, and each must say something.

    A tag in a transcript is rejected: it would be learned letter by letter.

    Raises:
      DataError: for the first that is not so.
    """
    seen: set[str] = set()
    for supervision in supervisions:
        complaint = None
        fix = "correct the manifests or the transcripts that they were made from"
        tags = [word for word in (supervision.text or "").split() if _TAG.fullmatch(word)]
        if supervision.id in seen:
            complaint = "occurs twice"
        elif not (supervision.text or "").strip():
            complaint = "has no transcript"
        elif supervision.duration <= 0:
            complaint = "lasts no time"
        elif tags:
            complaint = f"has the tag {tags[0]} in its transcript"
            fix = (
                f"leave it out of all transcripts with --drop-tags '{tags[0]}', or leave such "
                "utterances out of the manifests"
            )
        if complaint:
            raise DataError(
                f"an utterance of {part} {complaint}",
                where=supervision.id,
                fix=fix,
            )
        seen.add(supervision.id)
    if not seen:
        raise DataError(
            f"{part} has no utterances",
            fix="leave this part out, or give it transcripts",
        )
