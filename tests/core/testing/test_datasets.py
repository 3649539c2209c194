"""Each check of the dataset kit fails on a corpus that is broken in just that way."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from calve.api import DataError, LazyRef
from calve.data.tokens import SymbolTable
from calve.data.utterances import Utterance
from calve.protocols import Batch
from calve.protocols.loading import WHOLE, LoaderOptions, Shard
from calve.registry.catalog import registry
from calve.testing import DatasetConformance
from calve_lhotse.utterances import utterances_of

pytestmark = pytest.mark.usefixtures("sound_plugin")

Replaced = Callable[..., None]
Failures = Callable[..., dict[str, str]]

NAME = "its_name_is_its_own"
LIGHT = "importing_the_plugin_imports_nothing_heavy"
OPTIONS = "its_options_explain_themselves"
NAMES = "its_stages_have_names_of_their_own"
AGAIN = "preparing_it_again_repeats_nothing"
STAGES = "stage_by_stage_is_the_same_as_at_once"
TURN = "a_stage_before_its_turn_is_an_error_and_writes_nothing"
INTERRUPTED = "an_interrupted_preparation_goes_on_where_it_was"
ALONE = "it_writes_into_its_folder_alone"
MOVED = "a_prepared_corpus_may_be_moved"
SPLITS = "each_split_holds_utterances_and_others_are_refused"
UTTERANCES = "utterances_have_what_training_and_decoding_need"
AUDIO = "audio_lasts_as_long_as_is_said"
FEATURES = "features_are_those_that_calve_computes"
LOADING = "its_loader_options_explain_themselves"
BATCHES = "batches_are_what_training_takes"
SYMBOLS = "transcripts_are_spelled_in_symbols"
EPOCH = "an_epoch_holds_each_utterance_once"
SAME = "the_same_seed_gives_the_same_batches"
OTHER = "another_epoch_or_seed_gives_other_batches"
VALID = "validation_is_the_same_in_every_epoch"
RESUMED = "it_goes_on_where_it_was"
SHARES = "processes_share_an_epoch"
RANDOM = "random_numbers_of_others_stay_what_they_were"


class Conformance(DatasetConformance):
    dataset = "hums"
    loader_options: ClassVar[Mapping[str, Any]] = {"max_duration": 1.0, "num_buckets": 2}


class QuickConformance(Conformance):
    """Without imports in new processes."""

    test_importing_the_plugin_imports_nothing_heavy = None


def test_a_sound_corpus_passes_every_check(failures: Failures) -> None:
    assert failures(Conformance) == {}


def sound(name: str) -> Any:
    return getattr(__import__("acme_conformance.corpus", fromlist=[name]), name)


# Stages, each called like the one whose place it takes.


class rewrites:  # noqa: N801
    @staticmethod
    def symbols(options: Any, progress: Any) -> Any:
        report = sound("symbols")(options, progress)
        (options.data_dir / "symbols" / "again.txt").write_text(tempfile.mktemp())
        return report


_calls = itertools.count()


class counts:  # noqa: N801
    @staticmethod
    def symbols(options: Any, progress: Any) -> Any:
        return {**sound("symbols")(options, progress), "calls": next(_calls)}


class remembers:  # noqa: N801
    last: Any = None

    @staticmethod
    def audio(options: Any, progress: Any) -> Any:
        remembers.last = options
        return sound("audio")(options, progress)

    @staticmethod
    def features(options: Any, progress: Any) -> Any:
        if remembers.last is not options:
            raise DataError("audio has not been run", fix="start from --stage 0")
        return sound("features")(options, progress)


class stumbles:  # noqa: N801
    @staticmethod
    def symbols(options: Any, progress: Any) -> Any:
        (options.data_dir / "audio" / "stamp.json").read_text()
        return sound("symbols")(options, progress)


class begins_too_soon:  # noqa: N801
    @staticmethod
    def symbols(options: Any, progress: Any) -> Any:
        (options.data_dir / "symbols.log").write_text("begun")
        return sound("symbols")(options, progress)


class takes_a_folder_for_its_content:  # noqa: N801
    @staticmethod
    def symbols(options: Any, progress: Any) -> Any:
        if not (options.data_dir / "audio").is_dir():
            return sound("symbols")(options, progress)
        folder = options.data_dir / "symbols"
        if not folder.is_dir():
            folder.mkdir()
            progress.start("writing symbols")
            SymbolTable(sound("SYMBOLS")).write(folder / "tokens.txt")
            (folder / "stamp.json").touch()
        return {"symbols": len(sound("SYMBOLS"))}


class leaves_a_folder_when_interrupted:  # noqa: N801
    @staticmethod
    def audio(options: Any, progress: Any) -> Any:
        options.data_dir.mkdir(exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=".working-", dir=options.data_dir))
        (working / "begun").touch()
        report = sound("audio")(options, progress)
        (working / "begun").unlink()
        working.rmdir()
        return report


class writes_where_it_is_started:  # noqa: N801
    @staticmethod
    def audio(options: Any, progress: Any) -> Any:
        Path("hums.log").write_text("begun")
        return sound("audio")(options, progress)


class stays_where_it_is:  # noqa: N801
    @staticmethod
    def features(options: Any, progress: Any) -> Any:
        from lhotse import CutSet

        before = (options.data_dir / "fbank").exists()
        report = sound("features")(options, progress)
        for path in () if before else (options.data_dir / "fbank").glob("*.jsonl.gz"):
            cuts = CutSet.from_file(path).with_features_path_prefix(options.data_dir).to_eager()
            cuts.to_file(path)
        return report


@pytest.mark.parametrize(
    ("broken", "says", "expected"),
    [
        (rewrites, "prepared again, it writes symbols/again.txt", {AGAIN}),
        (counts, "when it is prepared again, the stage symbols reports", None),
        (remembers, "audio has not been run", {STAGES, INTERRUPTED}),
        (stumbles, "raise a DataError that says which stage to run first", {TURN}),
        (begins_too_soon, "writes symbols.log", None),
        (takes_a_folder_for_its_content, "after interruptions", {INTERRUPTED}),
        (leaves_a_folder_when_interrupted, "there are more or fewer of .working-", {INTERRUPTED}),
        (writes_where_it_is_started, "hums.log in the working directory", {ALONE}),
        (stays_where_it_is, "moved, the features of", {MOVED}),
    ],
)
def test_a_broken_stage_fails_the_checks_of_what_is_broken(
    replaced: Replaced,
    failures: Failures,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    broken: type,
    says: str,
    expected: set[str] | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = tuple(
        replace(stage, run=LazyRef(f"{__name__}:{broken.__name__}.{stage.name}"))
        if hasattr(broken, stage.name)
        else stage
        for stage in registry().datasets.get("hums").stages
    )
    replaced(registry().datasets, "hums", stages=stages)
    found = failures(QuickConformance)
    assert any(says in message for message in found.values()), found
    if expected is not None:
        assert set(found) == expected, found


# Utterances.


def with_cuts(change: Callable[[list[Any]], list[Any]]) -> Callable[..., Any]:
    def load_utterances(data_dir: Path, split: str) -> Iterator[Utterance]:
        return utterances_of(change(list(sound("load_cuts")(data_dir, split))))

    return load_utterances


class OtherFeatures:
    """A cut whose features are changed."""

    def __init__(self, cut: Any, change: Callable[[Any], Any]) -> None:
        self._cut, self._change = cut, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cut, name)

    def load_features(self) -> Any:
        return self._change(self._cut.load_features())


def mute(cut: Any) -> Any:
    return cut.map_supervisions(lambda supervision: replace(supervision, text=" "))


twice_the_same = with_cuts(lambda cuts: [*cuts, cuts[0]])
without_transcripts = with_cuts(lambda cuts: [mute(cut) for cut in cuts])
with_few_bands = with_cuts(lambda cuts: [OtherFeatures(cut, lambda x: x[:, :40]) for cut in cuts])
louder = with_cuts(lambda cuts: [OtherFeatures(cut, lambda x: x + 1) for cut in cuts])
with_nothing = with_cuts(lambda cuts: [])


def lasting(factor: float) -> Callable[..., Any]:
    def load_utterances(data_dir: Path, split: str) -> list[Utterance]:
        utterances = sound("load_utterances")(data_dir, split)
        return [replace(one, duration=factor * one.duration) for one in utterances]

    return load_utterances


without_an_end = lasting(0.0)
twice_as_long = lasting(2.0)


def of_every_split(data_dir: Path, split: str) -> Any:
    known = split if split in ("train", "valid") else "valid"
    return sound("load_utterances")(data_dir, known)


def stumbling_over_a_split(data_dir: Path, split: str) -> Any:
    return sound("load_utterances")(data_dir, {"train": "train", "valid": "valid"}[split])


@pytest.mark.parametrize(
    ("name", "check", "says"),
    [
        ("twice_the_same", UTTERANCES, "twice"),
        ("without_an_end", UTTERANCES, "lasts 0.0 s"),
        ("twice_as_long", AUDIO, "but its audio at 16000 Hz has"),
        ("without_transcripts", UTTERANCES, "nobody says what is said"),
        ("with_few_bands", FEATURES, "frames of 80"),
        ("louder", FEATURES, "not those that calve computes of its audio"),
        ("with_nothing", SPLITS, "the split train holds nothing"),
        ("of_every_split", SPLITS, "it has utterances of a split 'no-such-split'"),
        ("stumbling_over_a_split", SPLITS, "raises KeyError, not a DataError"),
    ],
)
def test_broken_utterances_fail_their_check(
    replaced: Replaced, failures: Failures, name: str, check: str, says: str
) -> None:
    replaced(registry().datasets, "hums", utterances=LazyRef(f"{__name__}:{name}"))
    assert says in failures(QuickConformance, check)[check]


# The spec.


@dataclass(frozen=True)
class Silent:
    data_dir: Path = Path("data/hums")


@dataclass(frozen=True)
class Homeless:
    train: int = field(default=12, metadata={"help": "Utterances to train on."})


@dataclass(frozen=True)
class Unexplained(LoaderOptions):
    level: int = 3


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"options": LazyRef("acme_conformance.heavy:SoundConfig")}, LIGHT, "imports torch"),
        ({"options": LazyRef(f"{__name__}:Silent")}, OPTIONS, "Silent.data_dir has no help"),
        ({"options": LazyRef(f"{__name__}:Homeless")}, OPTIONS, "no option data_dir"),
        ({"loader_options": LazyRef("acme_conformance.heavy:SoundConfig")}, LIGHT, "imports torch"),
        ({"loader_options": LazyRef(f"{__name__}:Homeless")}, LOADING, "Homeless is no subclass"),
        ({"loader_options": LazyRef(f"{__name__}:Unexplained")}, LOADING, "level has no help"),
        ({"stages": ()}, NAMES, "it has no stages"),
        ({"splits": ("train",)}, SPLITS, "train and valid: valid"),
        ({"splits": ()}, SPLITS, "name some"),
    ],
)
def test_a_broken_spec_fails_its_check(
    replaced: Replaced, failures: Failures, changes: dict[str, Any], check: str, says: str
) -> None:
    replaced(registry().datasets, "hums", **changes)
    assert says in failures(Conformance, check)[check]


def test_a_corpus_that_is_not_registered_is_found(failures: Failures) -> None:
    class Absent(DatasetConformance):
        dataset = "no-such-corpus"

    assert "no plugin registers the corpus" in failures(Absent, NAME)[NAME]


def test_a_corpus_that_is_not_for_training_needs_no_loader(
    replaced: Replaced, failures: Failures
) -> None:
    replaced(registry().datasets, "hums", loader=None, splits=("valid",))
    assert failures(QuickConformance) == {}


# Loaders.


class Loader:
    """A sound loader, for others to break."""

    def __init__(self, inner: Any, training: bool, shard: Shard) -> None:
        self.inner, self.training, self.shard = inner, training, shard
        self.epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        return map(self.changed, self.inner)

    def changed(self, batch: Batch) -> Batch:
        return batch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.inner.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.inner.load_state_dict(state)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        split: str,
        options: Any,
        *,
        training: bool,
        shard: Shard = WHOLE,
    ) -> Loader:
        inner = sound("load_batches")(data_dir, split, options, training=training, shard=shard)
        return cls(inner, training, shard)


class InFloat64(Loader):
    def changed(self, batch: Batch) -> Batch:
        return replace(batch, features=batch.features.double())


class CountsInFloats(Loader):
    def changed(self, batch: Batch) -> Batch:
        return replace(batch, feature_lens=batch.feature_lens.float())


class PadsWithZeros(Loader):
    def changed(self, batch: Batch) -> Batch:
        features = batch.features.clone()
        for row, length in zip(features, batch.feature_lens, strict=True):
            row[length:] = 0
        return replace(batch, features=features)


class SpellsBlanks(Loader):
    def changed(self, batch: Batch) -> Batch:
        return replace(batch, tokens=[[0, *tokens] for tokens in batch.tokens])


class ForgetsATranscript(Loader):
    def changed(self, batch: Batch) -> Batch:
        return replace(batch, tokens=batch.tokens[1:])


class DropsABatch(Loader):
    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.inner)
        if self.training and not self.epoch and self.shard == WHOLE:
            next(batches)
        yield from batches


class RepeatsABatch(Loader):
    def __iter__(self) -> Iterator[Batch]:
        for number, batch in enumerate(self.inner):
            yield batch
            if not number and not self.training:
                yield batch


class NeverTheSame(Loader):
    def changed(self, batch: Batch) -> Batch:
        louder = 1e-3 * next(_calls) * self.training * (batch.features > -20)
        return replace(batch, features=batch.features + louder)


class NoEpochs(Loader):
    def set_epoch(self, epoch: int) -> None:
        self.inner.set_epoch(0)


class NoisyValidation(Loader):
    def changed(self, batch: Batch) -> Batch:
        noise = self.epoch * (not self.training)
        return replace(batch, features=batch.features * (1 + 1e-3 * noise))


class StartsAnew(Loader):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.set_epoch(state["epoch"])


class OneMoreForTheFirst(Loader):
    def __iter__(self) -> Iterator[Batch]:
        for batch in self.inner:
            yield batch
        if self.shard == Shard(0, 2):
            yield batch


class DrawsRandomNumbers(Loader):
    def changed(self, batch: Batch) -> Batch:
        random.random()
        return batch


class DrawsTorchsRandomNumbers(Loader):
    def changed(self, batch: Batch) -> Batch:
        torch.rand(())
        return batch


class SharesNothing(Loader):
    @classmethod
    def open(cls, *arguments: Any, training: bool, shard: Shard = WHOLE) -> Loader:
        return super().open(*arguments, training=training)


class OneSeed(Loader):
    @classmethod
    def open(cls, data_dir: Path, split: str, options: Any, **others: Any) -> Loader:
        return super().open(data_dir, split, replace(options, seed=42), **others)


@pytest.mark.parametrize(
    ("broken", "says", "expected"),
    [
        (InFloat64, "in torch.float64", {BATCHES}),
        (CountsInFloats, "in torch.float32 do not belong", {BATCHES}),
        (PadsWithZeros, "is not padded with log(1e-10)", {BATCHES}),
        (SpellsBlanks, "neither blank nor <unk>", {SYMBOLS}),
        (ForgetsATranscript, "transcripts", {SYMBOLS}),
        (DropsABatch, "an epoch of train holds", {EPOCH}),
        (RepeatsABatch, "an epoch of valid holds an utterance twice", {EPOCH}),
        (NeverTheSame, "the same utterances with other features", {SAME, RESUMED}),
        (NoEpochs, "another epoch gives the same batches", {OTHER}),
        (OneSeed, "another seed gives the same batches", {OTHER}),
        (NoisyValidation, "in another epoch of validation", {VALID}),
        (StartsAnew, "after it was resumed", {RESUMED}),
        (OneMoreForTheFirst, "would wait for the others for ever", {SHARES}),
        (SharesNothing, "12 of 12 utterances are seen by both processes", {SHARES}),
        (DrawsRandomNumbers, "changes the global random numbers", {RANDOM}),
        (DrawsTorchsRandomNumbers, "changes the global random numbers", {RANDOM}),
    ],
)
def test_a_broken_loader_fails_the_checks_of_what_is_broken(
    replaced: Replaced, failures: Failures, broken: type, says: str, expected: set[str]
) -> None:
    replaced(registry().datasets, "hums", loader=LazyRef(f"{__name__}:{broken.__name__}.open"))
    found = failures(LoaderConformance)
    assert set(found) == expected, found
    assert any(says in message for message in found.values()), found


class LoaderConformance(Conformance):
    """The checks of batches alone."""


for _name in vars(DatasetConformance):
    if _name.startswith("test_"):
        setattr(LoaderConformance, _name, None)


def test_too_few_batches_to_see_an_order_are_said_to_be_too_few(failures: Failures) -> None:
    class Long(Conformance):
        loader_options: ClassVar[Mapping[str, Any]] = {"max_duration": 100, "num_buckets": 2}

    assert "give a smaller max_duration" in failures(Long, SAME)[SAME]
