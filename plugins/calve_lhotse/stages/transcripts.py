"""The transcripts of the training data."""

from __future__ import annotations

from pathlib import Path

from lhotse import SupervisionSet

from calve_lhotse.corpus import Corpus, manifest_paths
from calve_lhotse.stamps import stamp_of

__all__ = ["training_stamps", "training_transcripts", "transcripts"]


def training_stamps(data_dir: Path, corpus: Corpus) -> list[str]:
    """What the training transcripts follow from, for the keys of stages that read them."""
    return [stamp_of(data_dir / "manifests" / part, "manifests") for part in corpus.train]


def training_transcripts(data_dir: Path, corpus: Corpus) -> list[str]:
    """The transcripts that are trained on, each utterance's once."""
    return [text for part in corpus.train for text in transcripts(data_dir, corpus, part).values()]


def transcripts(data_dir: Path, corpus: Corpus, part: str) -> dict[str, str]:
    """The transcripts of a part by the utterances' names."""
    _, supervisions = manifest_paths(data_dir, corpus, part)
    return {
        supervision.id: " ".join(supervision.text.split())
        for supervision in SupervisionSet.from_jsonl_lazy(supervisions)
    }
