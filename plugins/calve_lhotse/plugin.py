"""What this plugin registers: corpora."""

from __future__ import annotations

from collections.abc import Iterable

from calve.api import DatasetSpec, LazyRef, StageSpec, hookimpl


def _stage(name: str, place: str, summary: str) -> StageSpec:
    return StageSpec(name, summary, LazyRef(f"calve_lhotse.{place}:{name}"))


def _loader_options(name: str) -> LazyRef:
    return LazyRef(f"calve_lhotse.loader_options:{name}")


_AFTER_MANIFESTS = (
    _stage("features", "stages.features", "compute 80-dimensional filter banks, at all speeds"),
    _stage("lm", "stages.language_model", "take or train an n-gram language model"),
    _stage("lang", "stages.lang", "train BPE models, write tokens.txt and the lexicon"),
    _stage("graphs", "stages.lang", "compile the grammar G and the decoding graph LG"),
    _stage("validate", "stages.validation", "check that files and symbols agree"),
)


@hookimpl
def calve_register_datasets() -> Iterable[DatasetSpec]:
    """The corpora that calve brings along."""
    yield DatasetSpec(
        name="fsdd",
        options=LazyRef("calve_lhotse.fsdd.options:FsddOptions"),
        stages=(
            _stage("manifests", "fsdd.recordings", "list the recordings as lhotse manifests"),
            _stage(
                "voices", "fsdd.voices", "speak digits with the synthesizers that are installed"
            ),
            _stage("utterances", "fsdd.utterances", "join digits into connected utterances"),
            _stage("features", "fsdd.cuts", "compute 80-dimensional filter banks"),
            _stage("lang", "fsdd.lang", "train the BPE model, write tokens.txt and the lexicon"),
            _stage(
                "validate", "fsdd.validation", "check that splits share nothing and files agree"
            ),
        ),
        utterances=LazyRef("calve_lhotse.fsdd.cuts:load_utterances"),
        splits=("train", "valid", "test", "heldout"),
        loader=LazyRef("calve_lhotse.fsdd.batches:load_batches"),
        loader_options=_loader_options("FsddLoaderOptions"),
        summary="connected English digits from the Free Spoken Digit Dataset",
    )
    yield DatasetSpec(
        name="librispeech",
        options=LazyRef("calve_lhotse.librispeech.options:LibriSpeechOptions"),
        stages=(
            _stage("manifests", "librispeech.manifests", "list recordings and transcripts"),
            *_AFTER_MANIFESTS,
        ),
        utterances=LazyRef("calve_lhotse.corpus:load_utterances"),
        splits=(
            *("train", "valid", "train-clean-100", "train-clean-360", "train-other-500"),
            *("dev-clean", "dev-other", "test-clean", "test-other"),
        ),
        loader=LazyRef("calve_lhotse.corpus:load_batches"),
        loader_options=_loader_options("LibriSpeechLoaderOptions"),
        summary="LibriSpeech, 960 hours of read English books",
    )
    yield DatasetSpec(
        name="from-manifests",
        options=LazyRef("calve_lhotse.own_manifests.options:ManifestsOptions"),
        stages=(
            _stage("manifests", "own_manifests.manifests", "check recordings and supervisions"),
            *_AFTER_MANIFESTS,
        ),
        utterances=LazyRef("calve_lhotse.corpus:load_utterances"),
        splits=(),
        loader=LazyRef("calve_lhotse.corpus:load_batches"),
        loader_options=_loader_options("SentenceLoaderOptions"),
        summary="your own recordings and transcripts, given as lhotse manifests",
    )
    yield DatasetSpec(
        name="musan",
        options=LazyRef("calve_lhotse.musan.options:MusanOptions"),
        stages=(
            _stage("manifests", "musan.stages", "list the recordings"),
            _stage("features", "musan.stages", "compute filter banks of pieces of ten seconds"),
        ),
        utterances=LazyRef("calve_lhotse.musan.cuts:load_utterances"),
        splits=("noise",),
        summary="MUSAN: music, speech and noise to mix into training data",
    )
