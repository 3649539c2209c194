"""Stage ``features``: cuts, the training data at several speeds, and their filter banks.

lhotse's own `CutSet.compute_and_store_features` leaves out cuts whose audio cannot be read, makes
archives whose number follows from the number of jobs, and begins again when it is interrupted.
Here cuts are dealt into shards of fixed size. Each is written by one task, whole or not at all, so
that the result is the same whoever computes it, and nothing finished is computed twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import CutSet, LilcomChunkyWriter
from lhotse.cut import Cut

from calve.api import DataError
from calve.discovery import describe
from calve.files import atomic_file
from calve.parallel import ordered_map
from calve_lhotse.corpus import Corpus, cuts_path, read_manifests
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.stamps import resumable, stamp_of

if TYPE_CHECKING:
    from calve.protocols import Progress
    from calve_lhotse.stages.options import ExtractionOptions, PreparationOptions

__all__ = ["features", "store_shards"]

CUTS_PER_SHARD = 500

_SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Shard:
    """Cuts that one task works on."""

    number: int
    cuts: tuple[Cut, ...]


def features(options: PreparationOptions, progress: Progress) -> Mapping[str, object]:
    """Write ``fbank/PART/`` for every part."""
    corpus = Corpus.read(options.data_dir)
    return {part: _features_of(options, corpus, part, progress) for part in corpus.parts}


def _features_of(
    options: PreparationOptions, corpus: Corpus, part: str, progress: Progress
) -> Mapping[str, object]:
    path = cuts_path(options.data_dir, corpus, part)
    speeds = options.speed_factors if part in corpus.train else ()
    key = {
        "manifests": stamp_of(options.data_dir / "manifests" / part, "manifests"),
        "features": CalveFbank().config.fingerprint if options.store_features else None,
        "speeds": speeds,
        "cuts_per_shard": CUTS_PER_SHARD,
    }
    with resumable(path.parent, key) as output:
        if output.is_new:
            cuts = _utterances(options.data_dir, corpus, part)
            total = len(cuts) * (1 + len(speeds))
            at_speeds = _at_speeds(cuts, speeds) if part in corpus.train else iter(cuts)
            output.report.update(
                store_shards(
                    at_speeds,
                    output.folder,
                    path,
                    options,
                    progress=progress,
                    title=f"{part}: computing features",
                    total=total,
                    store_features=options.store_features,
                )
            )
    return output.report


def store_shards(
    cuts: Iterable[Cut],
    folder: Path,
    manifest: Path,
    options: ExtractionOptions,
    *,
    progress: Progress,
    title: str,
    total: int,
    store_features: bool = True,
) -> dict[str, object]:
    """Compute the features of cuts into archives, and list the cuts.

    Args:
      cuts: In the order that the manifest shall have.
      folder: Where to write; shards that lie there already are kept.
      manifest: Where the manifest will be when ``folder`` has got its final name.
      options: Says who works, and what the archives' paths are relative to.
      progress, title, total: The bar; ``total`` counts cuts.
      store_features: Whether there are archives at all.

    Returns:
      What was made, for the stage's report.

    Raises:
      DataError: if a cut cannot be read; names it.
    """
    final = manifest.parent.relative_to(options.data_dir)
    work = partial(_store_shard, folder.absolute(), final if store_features else None)
    progress.start(title, total)
    hours, frames, count = 0.0, 0, 0
    for made in ordered_map(work, _shards(cuts), jobs=options.jobs, dask=options.dask):
        hours, frames, count = hours + made["hours"], frames + made["frames"], count + made["cuts"]
        progress.advance(made["cuts"])
    progress.finish()
    pieces = sorted(folder.glob(_manifest_name("*")))
    with atomic_file(folder / manifest.name) as temporary, temporary.open("wb") as joined:
        for piece in pieces:  # gzip files one after the other are a gzip file
            with piece.open("rb") as stream:
                shutil.copyfileobj(stream, joined)
    for piece in pieces:
        piece.unlink()
    report: dict[str, object] = {"cuts": count, "hours": round(hours, 3)}
    return {**report, "frames": frames} if store_features else report


def _utterances(data_dir: Path, corpus: Corpus, part: str) -> list[Cut]:
    """One cut for each supervision, in the order of their names."""
    recordings, supervisions = read_manifests(data_dir, corpus, part)
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


def _shards(cuts: Iterable[Cut]) -> Iterator[Shard]:
    iterator = iter(cuts)
    number = 0
    while members := tuple(islice(iterator, CUTS_PER_SHARD)):
        yield Shard(number, members)
        number += 1


def _store_shard(folder: Path, final: Path | None, shard: Shard) -> dict[str, Any]:
    """Write one shard, its manifest last; ``final`` is the folder's path relative to data_dir."""
    manifest = folder / _manifest_name(f"{shard.number:05d}")
    if not manifest.exists():
        cuts = list(shard.cuts) if final is None else _with_features(folder, final, shard)
        with atomic_file(manifest) as temporary:
            CutSet.from_cuts(cuts).to_file(temporary)
    return {
        "cuts": len(shard.cuts),
        "hours": sum(cut.duration for cut in shard.cuts) / 3600,
        "frames": sum(cut.num_frames or 0 for cut in CutSet.from_jsonl_lazy(manifest)),
    }


def _with_features(folder: Path, final: Path, shard: Shard) -> list[Cut]:
    name = f"feats-{shard.number:05d}.lca"
    extractor = CalveFbank()
    with atomic_file(folder / name) as temporary, LilcomChunkyWriter(temporary) as storage:
        stored = [_stored(cut, extractor, storage) for cut in shard.cuts]
    for cut in stored:
        cut.features = replace(cut.features, storage_path=str(final / name))
    return stored


def _stored(cut: Cut, extractor: CalveFbank, storage: LilcomChunkyWriter) -> Cut:
    try:
        samples = cut.load_audio()
    except Exception as error:
        # lhotse tries several audio back ends; each fails with a type of its own.
        raise DataError(
            f"cannot read the audio of {cut.id}: {describe(error)}",
            where=cut.recording.sources[0].source,
            fix="fetch this recording again; what is finished will not be repeated",
        ) from error
    manifest = extractor.extract_from_samples_and_store(
        samples, storage, cut.sampling_rate, offset=cut.start, channel=cut.channel
    )
    return replace(cut, features=replace(manifest, recording_id=cut.recording_id))


def _manifest_name(number: str) -> str:
    return f"shard-{number}.jsonl.gz"
