"""What this plugin registers: corpora."""

from __future__ import annotations

from collections.abc import Iterable

from calve.api import DatasetSpec, LazyRef, StageSpec, hookimpl


def _stage(name: str, module: str, summary: str) -> StageSpec:
    return StageSpec(name, summary, LazyRef(f"calve_lhotse.fsdd.{module}:{name}"))


@hookimpl
def calve_register_datasets() -> Iterable[DatasetSpec]:
    """The corpora that calve brings along."""
    yield DatasetSpec(
        name="fsdd",
        options=LazyRef("calve_lhotse.fsdd.options:FsddOptions"),
        stages=(
            _stage("manifests", "recordings", "list the recordings as lhotse manifests"),
            _stage("voices", "voices", "speak digits with the synthesisers that are installed"),
            _stage("utterances", "utterances", "join digits into connected utterances"),
            _stage("features", "cuts", "compute 80-dimensional filter banks"),
            _stage("lang", "lang", "train the sentencepiece model, write tokens.txt"),
            _stage("validate", "validation", "check that splits share nothing and files agree"),
        ),
        cuts=LazyRef("calve_lhotse.fsdd.cuts:load_cuts"),
        splits=("train", "valid", "test", "heldout"),
        loader=LazyRef("calve_lhotse.fsdd.batches:load_batches"),
        loader_defaults={
            "enable_musan": False,
            "num_buckets": 12,
            "num_workers": 0,
            "spec_aug_time_warp_factor": 10,
        },
        summary="connected English digits from the Free Spoken Digit Dataset",
    )
