"""The options of the loaders of lhotse corpora; names, meanings and defaults are icefall's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calve.api import ConfigError, Range
from calve.protocols.loading import LoaderOptions, loader_option, with_default

__all__ = [
    "FsddLoaderOptions",
    "LhotseLoaderOptions",
    "LibriSpeechLoaderOptions",
    "SentenceLoaderOptions",
]


@dataclass(frozen=True)
class LhotseLoaderOptions(LoaderOptions):
    """How `calve_lhotse.loader.CutBatches` makes batches of lhotse cuts.

    Raises:
      ConfigError: if a value is impossible.
    """

    bucketing_sampler: bool = loader_option(
        True, "Batch utterances of similar length; otherwise utterances in their order."
    )
    num_buckets: int = loader_option(
        30, "Number of length classes of --bucketing-sampler.", limits=Range(2, 10_000)
    )
    enable_spec_aug: bool = loader_option(True, "Mask features of the training data (SpecAugment).")
    spec_aug_time_warp_factor: int = loader_option(
        80,
        "Largest time warp of SpecAugment in frames; less than 1 for none.",
        limits=Range(-1, 10_000),
    )
    on_the_fly_feats: bool = loader_option(
        False, "Compute features from audio during training; no stored features are needed."
    )
    allow_commands: bool = loader_option(
        False,
        "Let sources in manifests be commands, which a shell runs, and URLs, which are fetched.",
        fixed=False,
    )
    lang_dir: Path | None = loader_option(
        None,
        "Directory of bpe.model and tokens.txt, relative to --data-dir; by default that of "
        "the first prepared --vocab-size.",
        fixed=False,
    )

    def symbol_table(self, default: Path) -> Path:
        """That of ``lang_dir``, if it is given."""
        return default if self.lang_dir is None else self.lang_dir / default.name


@dataclass(frozen=True)
class SentenceLoaderOptions(LhotseLoaderOptions):
    """Options of a corpus of sentences, with which the noise of MUSAN can be mixed."""

    enable_musan: bool = loader_option(
        True, "Mix noise, music and babble of MUSAN into the training data."
    )
    musan_dir: Path | None = loader_option(
        None,
        "Data directory of `calve prepare musan`; by default `musan` beside the corpus.",
        fixed=False,
    )
    full_libri: bool | None = loader_option(
        None,
        "LibriSpeech: train on all training parts (1) or only on train-clean-100 (0); by "
        "default on the prepared parts.",
    )


@dataclass(frozen=True)
class LibriSpeechLoaderOptions(SentenceLoaderOptions):
    """icefall's limits on the length of utterances of LibriSpeech."""

    shortest_utterance: float = with_default(LoaderOptions, "shortest_utterance", 1.0)
    longest_utterance: float = with_default(LoaderOptions, "longest_utterance", 20.0)


@dataclass(frozen=True)
class FsddLoaderOptions(LhotseLoaderOptions):
    """Defaults for a few minutes of connected digits.

    Raises:
      ConfigError: for MUSAN, since the training utterances are noisy already.
    """

    num_workers: int = with_default(LoaderOptions, "num_workers", 0)
    num_buckets: int = with_default(LhotseLoaderOptions, "num_buckets", 12)
    spec_aug_time_warp_factor: int = with_default(
        LhotseLoaderOptions, "spec_aug_time_warp_factor", 10
    )
    enable_musan: bool = with_default(SentenceLoaderOptions, "enable_musan", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.enable_musan:
            raise ConfigError(
                "fsdd's training utterances are noisy already",
                where="--enable-musan",
                fix="leave the option out",
            )
