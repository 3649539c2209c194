"""Corpora of sentences: files on disk, and access for training and decoding.

::

    manifests/corpus.json          parts, and which of them are trained and validated on
    manifests/PART/                recordings and supervisions
    fbank/PART/                    cuts, and the archives that their features are in;
                                   or a list of shards, which are elsewhere
    lang_bpe_500/, lang            BPE model, tokens, lexicon, G and LG; `lang` is the first one
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lhotse import CutSet, RecordingSet, SupervisionSet
from lhotse.cut import Cut

from calve.api import ConfigError, DataError
from calve.common.inputs import read_json
from calve.data.utterances import Utterance
from calve.protocols.loading import WHOLE, Shard
from calve_lhotse.batches import BatchMaker, spec_augment
from calve_lhotse.loader import CutBatches
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.musan.cuts import load_noise
from calve_lhotse.sections import CutFiles, read_section
from calve_lhotse.shar import open_shards, read_shards, shards_name
from calve_lhotse.sources import checked_items
from calve_lhotse.subwords import MODEL_NAME, load_subwords
from calve_lhotse.utterances import utterances_of

__all__ = [
    "Corpus",
    "cuts_path",
    "load_batches",
    "load_cuts",
    "load_parts",
    "load_utterances",
    "manifest_paths",
    "read_manifests",
]


@dataclass(frozen=True)
class Corpus:
    """Which parts a prepared corpus has.

    Attributes:
      name: Prefix of its manifests' names.
      parts: Folders of ``manifests`` and ``fbank``.
      train: Parts that make up the split "train", perturbed in speed.
      valid: Parts that make up the split "valid".
    """

    name: str
    parts: tuple[str, ...]
    train: tuple[str, ...]
    valid: tuple[str, ...]

    @classmethod
    def read(cls, data_dir: Path) -> Corpus:
        """What stage ``manifests`` wrote down.

        Raises:
          DataError: if it has not been run.
        """
        path = cls.path(data_dir)
        try:
            fields: Mapping[str, Any] = read_json(path, "description of a corpus", DataError)
            names = (fields[name] for name in ("parts", "train", "valid"))
            return cls(str(fields["name"]), *map(_texts, names))
        except (DataError, KeyError, TypeError) as error:
            raise DataError(
                "no corpus has been prepared here",
                where=path,
                fix="run `calve prepare`, from stage 0 on",
            ) from error

    @staticmethod
    def path(data_dir: Path) -> Path:
        """Where the description of a prepared corpus is kept."""
        return Path(data_dir) / "manifests" / "corpus.json"

    def to_json(self) -> str:
        """What `read` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def parts_of(self, split: str) -> tuple[str, ...]:
        """The parts of a split; each other part is a split of its own.

        Raises:
          DataError: if there is no such split.
        """
        splits = {part: (part,) for part in self.parts} | {"train": self.train, "valid": self.valid}
        if not splits.get(split):
            raise DataError(
                f"this corpus has no split {split!r}",
                fix=f"choose one of {', '.join(name for name in splits if splits[name])}",
            )
        return splits[split]


def _texts(names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"not a list of names: {names!r}")
    return tuple(names)


def manifest_paths(data_dir: Path, corpus: Corpus, part: str) -> tuple[Path, Path]:
    """Where the recordings and supervisions of a part are listed."""
    folder = data_dir / "manifests" / part
    return tuple(  # type: ignore[return-value]
        folder / f"{corpus.name}_{kind}_{part}.jsonl.gz" for kind in ("recordings", "supervisions")
    )


def read_manifests(
    data_dir: Path, corpus: Corpus, part: str, *, allow_commands: bool = False
) -> tuple[RecordingSet, SupervisionSet]:
    """The recordings and supervisions of a part, in memory.

    Raises:
      DataError: for a source that is a command or a URL, unless ``allow_commands``.
    """
    recordings, supervisions = manifest_paths(data_dir, corpus, part)
    listed = checked_items(recordings, allow=allow_commands)
    spoken = checked_items(supervisions, allow=allow_commands)
    return RecordingSet.from_recordings(listed), SupervisionSet.from_segments(spoken)


def cuts_path(data_dir: Path, corpus: Corpus, part: str) -> Path:
    """Where the cuts of a part are listed."""
    return Path(data_dir) / "fbank" / part / f"{corpus.name}_cuts_{part}.jsonl.gz"


def load_cuts(data_dir: Path, split: str) -> CutSet:
    """The cuts of a split, read as they are iterated over.

    Features are found wherever ``data_dir`` is now. Training parts are in a random order and
    hold their utterances at every speed; if several make up a split, their cuts take turns at
    random.

    Raises:
      DataError: if the split is unknown or not prepared.
    """
    corpus = Corpus.read(data_dir)
    return load_parts(data_dir, corpus, corpus.parts_of(split))


def load_utterances(data_dir: Path, split: str) -> Iterator[Utterance]:
    """The utterances of `load_cuts`."""
    return utterances_of(load_cuts(data_dir, split))


def load_parts(
    data_dir: Path,
    corpus: Corpus,
    parts: tuple[str, ...],
    shuffle_seed: int | None = None,
    first: int = 0,
    count: int | None = None,
    *,
    allow_commands: bool = False,
) -> CutSet:
    """The cuts of these parts; see `load_cuts`.

    Args:
      data_dir, corpus, parts: Which ones.
      shuffle_seed: Decides the order of the shards of those parts that are stored as Shar.
      first: Number of the first cut.
      count: How many at most; None for all that follow.
      allow_commands: Whether sources may be commands and URLs.
    """
    files = []
    for part in parts:
        path = cuts_path(data_dir, corpus, part)
        listing = path.with_name(shards_name(corpus.name, part))
        if listing.is_file():
            files.append(open_shards(read_shards(listing), shuffle_seed, allow_commands))
        elif path.is_file():
            finish = partial(_with_features_in, data_dir)
            files.append(CutFiles([path], finish, allow_commands))
        else:
            raise DataError(
                f"the cuts of {part} have not been prepared",
                where=path,
                fix="run stage `features` of `calve prepare`",
            )
    return read_section(files, first, count)


def _with_features_in(data_dir: Path, cut: Cut, path: Path) -> Cut:
    return cut.with_features_path_prefix(data_dir)


def load_batches(
    data_dir: Path,
    split: str,
    options: SentenceLoaderOptions,
    *,
    training: bool,
    shard: Shard = WHOLE,
) -> CutBatches:
    """Batches of one split; see `calve.protocols.OpenLoader`.

    Raises:
      DataError: if the split, the BPE model or MUSAN has not been prepared.
      ConfigError: if --full-libri asks for what the corpus is not.
    """
    data_dir = Path(data_dir)
    corpus = Corpus.read(data_dir)
    parts = corpus.parts_of(split)
    if split == "train" and options.full_libri is not None:
        parts = _librispeech_parts(corpus, full=options.full_libri)
    maker = BatchMaker(
        load_subwords(data_dir / (options.lang_dir or "lang") / MODEL_NAME),
        on_the_fly=options.on_the_fly_feats,
        masks=spec_augment(options.spec_aug_time_warp_factor)
        if training and options.enable_spec_aug
        else None,
        noise=load_noise(options.musan_dir or data_dir.parent / "musan")
        if training and options.enable_musan
        else None,
    )

    def open_section(epoch: int, first: int, count: int | None) -> CutSet:
        seed = options.seed + epoch if training else None
        return load_parts(
            data_dir, corpus, parts, seed, first, count, allow_commands=options.allow_commands
        )

    open_section(0, 0, 0)  # what is missing is said now, before anything is written for a run
    return CutBatches(
        open_section,
        maker,
        options,
        shuffle=training,
        shard=shard,
    )


def _librispeech_parts(corpus: Corpus, *, full: bool) -> tuple[str, ...]:
    wanted = ("train-clean-100", "train-clean-360", "train-other-500")[: 3 if full else 1]
    missing = [part for part in wanted if part not in corpus.train]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} is not part of this corpus",
            where="--full-libri",
            fix="leave the option out, or prepare LibriSpeech with --full-libri 1",
        )
    return wanted
