"""Stage ``features``: cuts, the training data at several speeds, and their filter banks.

lhotse's own `CutSet.compute_and_store_features` leaves out cuts whose audio cannot be read, makes
archives whose number follows from the number of jobs, and begins again when it is interrupted.
Here cuts are dealt into shards of fixed size. Each is written by one task, whole or not at all, so
that the result is the same whoever computes it, and nothing finished is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import CutSet, RecordingSet, SupervisionSet
from lhotse.cut import Cut

from calve.api import DataError
from calve.common.parallel import ordered_map
from calve.common.progress import Progress, tracked
from calve_lhotse.corpus import Corpus, cuts_path, read_manifests
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.stages.storage import (
    Archives,
    FeatureShard,
    SharFolders,
    Storage,
    UnreadableCut,
    UnreadableCutsError,
)
from calve_lhotse.stamps import StageOutput, resumable, stamp_of

if TYPE_CHECKING:
    from calve_lhotse.stages.options import ExtractionOptions, PreparationOptions

__all__ = ["CUTS_PER_SHARD", "features", "store_shards", "utterances"]

CUTS_PER_SHARD = 500

_SHUFFLE_SEED = 0

_NAMED = 5
"""Unreadable utterances that an error lists; their number is always said."""


def features(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``fbank/PART/`` for every part, and its Shar."""
    corpus = Corpus.read(options.data_dir)
    return {part: _features_of(options, corpus, part, progress) for part in corpus.parts}


def _features_of(
    options: PreparationOptions, corpus: Corpus, part: str, progress: Progress
) -> Mapping[str, object]:
    folder = cuts_path(options.data_dir, corpus, part).parent
    speeds = options.speed_factors if part in corpus.train else ()
    key: dict[str, object] = {
        "manifests": stamp_of(options.data_dir / "manifests" / part, "manifests"),
        "features": CalveFbank().config.fingerprint if options.store_features else None,
        "speeds": speeds,
        "cuts_per_shard": CUTS_PER_SHARD,
    }
    if options.shar_dir:
        key["shar"] = [path.absolute() for path in options.shar_dir]
    with resumable(folder, key) as output:
        if output.is_new:
            cuts = utterances(
                *read_manifests(
                    options.data_dir, corpus, part, allow_commands=options.allow_commands
                )
            )
            storage = _storage(options, corpus, part, output)
            output.report.update(
                store_shards(
                    _at_speeds(cuts, speeds) if part in corpus.train else iter(cuts),
                    storage,
                    options,
                    progress=progress,
                    title=f"{part}: computing features",
                    total=len(cuts) * (1 + len(speeds)),
                )
            )
            storage.finish()
    return output.report


def _storage(
    options: PreparationOptions, corpus: Corpus, part: str, output: StageOutput
) -> Storage:
    if options.shar_dir:
        field = "features" if options.store_features else "recording"
        return SharFolders.make(options.shar_dir, output, corpus.name, part, field)
    manifest = cuts_path(options.data_dir, corpus, part)
    final = manifest.parent.relative_to(options.data_dir)
    return Archives(
        output.folder.absolute(), manifest.name, final if options.store_features else None
    )


def store_shards(
    cuts: Iterable[Cut],
    storage: Storage,
    options: ExtractionOptions,
    *,
    progress: Progress,
    title: str,
    total: int,
) -> dict[str, object]:
    """Put cuts, and what is stored with them, into shards; the caller finishes the storage.

    Args:
      cuts: In the order that the manifest shall have.
      storage: Where to write; shards that lie there already are kept.
      options: Says who works.
      progress, title, total: The bar; ``total`` counts cuts.

    Returns:
      What was made, for the stage's report.

    Raises:
      DataError: if some cuts cannot be read; names them, after all others are stored.
    """
    with tracked(progress, title, total):
        hours, frames, count = 0.0, 0, 0
        unreadable: list[UnreadableCut] = []
        work = partial(_store_shard, storage)
        for made in ordered_map(work, _shards(cuts), jobs=options.jobs, dask=options.dask):
            hours += made["hours"]
            frames += made["frames"]
            count += made["cuts"]
            unreadable += made["unreadable"]
            progress.advance(made["cuts"])
        if unreadable:
            raise _unreadable(unreadable)
    report: dict[str, object] = {"cuts": count, "hours": round(hours, 3)}
    return {**report, "frames": frames} if frames else report


def _unreadable(cuts: Sequence[UnreadableCut]) -> DataError:
    first, *others = cuts
    fix = (
        "fetch these recordings again, repair them, or leave them out of the manifests; what is "
        "finished will not be repeated"
    )
    if not others:
        what = f"cannot read the audio of {first.name}: {first.reason}"
        return DataError(what, where=first.source, fix=fix)
    named = [f"{one.name} ({one.source}): {one.reason}" for one in cuts[:_NAMED]]
    if len(cuts) > _NAMED:
        named.append(f"and {len(cuts) - _NAMED} more")
    lines = "".join(f"\n  {line}" for line in named)
    return DataError(f"cannot read the audio of {len(cuts)} utterances:{lines}", fix=fix)


def utterances(recordings: RecordingSet, supervisions: SupervisionSet) -> list[Cut]:
    """One cut for each supervision, in the order of their names."""
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    trimmed = cuts.trim_to_supervisions(keep_overlapping=False)
    named = [_named_as_supervision(cut) for cut in trimmed]
    return sorted(named, key=lambda cut: cut.id)


def _named_as_supervision(cut: Cut) -> Cut:
    (supervision,) = cut.supervisions
    return replace(cut, id=supervision.id)


def _at_speeds(cuts: list[Cut], factors: tuple[float, ...]) -> Iterator[Cut]:
    """All cuts at all speeds, in a random order that is always the same."""
    variants = (1.0, *factors)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(cuts) * len(variants))
    for number in order.tolist():
        cut, factor = cuts[number // len(variants)], variants[number % len(variants)]
        yield cut if factor == 1.0 else cut.perturb_speed(factor)


def _shards(cuts: Iterable[Cut]) -> Iterator[FeatureShard]:
    iterator = iter(cuts)
    number = 0
    while members := tuple(islice(iterator, CUTS_PER_SHARD)):
        yield FeatureShard(number, members)
        number += 1


def _store_shard(storage: Storage, shard: FeatureShard) -> dict[str, Any]:
    cuts_file = storage.cuts_file(shard.number)
    if not cuts_file.exists():
        try:
            storage.write(shard)
        except UnreadableCutsError as error:
            return {"cuts": 0, "hours": 0.0, "frames": 0, "unreadable": list(error.cuts)}
    return {
        "unreadable": [],
        "cuts": len(shard.cuts),
        "hours": sum(cut.duration for cut in shard.cuts) / 3600,
        "frames": sum(cut.num_frames or 0 for cut in CutSet.from_jsonl_lazy(cuts_file)),
    }
