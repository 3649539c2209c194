"""Conformance tests of corpora."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from calve.common.config import fields_help
from calve.common.exceptions import describe
from calve.data.features import FeatureConfig, compute_fbank
from calve.data.utterances import Utterance
from calve.errors import CalveError, DataError
from calve.registry.catalog import registry
from calve.registry.specs import DatasetSpec
from calve.testing.checks import (
    check_help,
    check_light_import,
    check_registered_once,
    check_steps,
    fail,
    names_of,
    require,
)
from calve.testing.corpora import (
    Interrupted,
    InterruptedProgress,
    Prepared,
    kept_corpus,
    prepare,
    snapshot,
)
from calve.testing.folders import leaving_nothing_behind, temporary_folder
from calve.testing.loaders import LoaderChecks

__all__ = ["DatasetConformance"]

Float32Array = NDArray[np.float32]

_INTERRUPTIONS = (1, 2, 3, 10)
"""Progress calls after which a stage is interrupted, one number for each attempt."""
_UTTERANCES_READ = 3
_NO_SPLIT = "no-such-split"
_SECONDS_OFF = 0.02
"""Accepted difference between actual and stated length of audio: a frame or two."""
_ROUNDING = 0.05
"""Accepted error of features in a compressed archive; lilcom stores multiples of 1/32."""


class DatasetConformance(LoaderChecks):
    """Tests of a corpus, prepared from a small copy of its data.

    Attributes:
      dataset: Name of the corpus.
      options: Options of ``calve prepare`` except `data_dir`, including the path of the small copy.
      splits: Splits to test; by default all that the corpus names. Required if preparation
        determines the splits.
      transcribed: Whether the utterances have transcripts.
      loader_options: Options of the loader that suit a small corpus.
    """

    dataset: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    splits: ClassVar[Sequence[str] | None] = None
    transcribed: ClassVar[bool] = True

    # What calve knows without preparing it.

    def test_its_name_is_its_own(self) -> None:
        check_registered_once(registry().datasets, self.dataset)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        source = registry().datasets.source(self.dataset)
        check_light_import(source.target, self._spec().options, self._spec().loader_options)

    def test_its_options_explain_themselves(self) -> None:
        options = self._spec().options.load()
        check_help(options)
        fields = {field.name: field for field in fields_help(options)}
        require(
            "data_dir" in fields and not fields["data_dir"].required,
            f"{options.__name__} has no option data_dir with a default: where does it write?",
        )

    def test_its_stages_have_names_of_their_own(self) -> None:
        check_steps("stages", self._spec().stages)

    # How it is prepared.

    def test_preparing_it_again_repeats_nothing(self) -> None:
        with temporary_folder() as folder:
            data_dir = folder / "data"
            shutil.copytree(self._kept().data_dir, data_dir, symlinks=True)
            before = snapshot(data_dir)
            again = prepare(self._spec(), self.options, data_dir)
            after = snapshot(data_dir)
        self._compare_reports(again, "when it is prepared again")
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        require(
            not changed,
            f"prepared again, it writes {names_of(changed)}; a stage that is finished has nothing "
            "to do",
        )

    def test_stage_by_stage_is_the_same_as_at_once(self) -> None:
        with temporary_folder() as folder:
            reports: dict[str, Any] = {}
            for stage in self._spec().stages:
                reports |= prepare(self._spec(), self.options, folder, stages=[stage])
            self._compare_reports(reports, "stage by stage")
            self._compare_files(folder, "stage by stage")

    def test_a_stage_before_its_turn_is_an_error_and_writes_nothing(self) -> None:
        for stage in self._spec().stages[1:]:
            with temporary_folder() as folder:
                try:
                    prepare(self._spec(), self.options, folder, stages=[stage])
                except CalveError as error:
                    # What the pipeline makes of any other exception has a cause of that kind.
                    require(
                        isinstance(error.__cause__, CalveError) and bool(error.fix),
                        f"the stage {stage.name} comes before its turn, and the error is "
                        f"{error.what}: raise a DataError that says which stage to run first",
                    )
                    left = snapshot(folder)
                    require(
                        not left, f"before its turn, the stage {stage.name} writes {names_of(left)}"
                    )

    def test_an_interrupted_preparation_goes_on_where_it_was(self) -> None:
        with temporary_folder() as folder:
            reports: dict[str, Any] = {}
            for stage in self._spec().stages:
                for number in _INTERRUPTIONS:
                    progress = InterruptedProgress(number)
                    with suppress(Interrupted):
                        prepare(
                            self._spec(),
                            self.options,
                            folder,
                            stages=[stage],
                            progress=progress,
                        )
                reports |= prepare(self._spec(), self.options, folder, stages=[stage])
            self._compare_reports(reports, "after interruptions")
            self._compare_files(folder, "after interruptions")

    def test_it_writes_into_its_folder_alone(self) -> None:
        with leaving_nothing_behind() as target:
            prepare(self._spec(), self.options, target / "output")

    def test_a_prepared_corpus_may_be_moved(self) -> None:
        data_dir = self._kept().data_dir
        moved = data_dir.rename(data_dir.with_name("moved"))
        try:
            for utterance in self._first_utterances(moved):
                self._stored_features(utterance, "moved")
        finally:
            moved.rename(data_dir)

    # What it holds.

    def test_each_split_holds_utterances_and_others_are_refused(self) -> None:
        for split in self._splits():
            require(any(True for _ in self._utterances(split)), f"the split {split} holds nothing")
        try:
            list(self._utterances(_NO_SPLIT))
        except DataError:
            pass
        except Exception as error:
            fail(f"a split that does not exist raises {type(error).__name__}, not a DataError")
        else:
            fail(f"it has utterances of a split {_NO_SPLIT!r}")
        if self._spec().loader is not None:
            missing = {"train", "valid"} - {*self._splits()}
            require(not missing, f"training needs the splits train and valid: {names_of(missing)}")

    def test_utterances_have_what_training_and_decoding_need(self) -> None:
        for split in self._splits():
            names: set[str] = set()
            for utterance in self._utterances(split):
                name = utterance.name
                require(name not in names, f"{split} holds {name} twice")
                names.add(name)
                require(utterance.duration > 0, f"{name} lasts {utterance.duration} s")
                require(
                    not self.transcribed or bool((utterance.text or "").strip()),
                    f"nobody says what is said in {name}",
                )

    def test_audio_lasts_as_long_as_is_said(self) -> None:
        rate = FeatureConfig().sample_rate
        for utterance in self._first_utterances(self._kept().data_dir):
            audio = utterance.audio(rate)
            seconds = len(audio.samples) / rate
            require(
                audio.sample_rate == rate and abs(seconds - utterance.duration) < _SECONDS_OFF,
                f"{utterance.name} lasts {utterance.duration:.3f} s, but its audio at {rate} Hz "
                f"has {len(audio.samples)} samples at {audio.sample_rate} Hz",
            )

    def test_features_are_those_that_calve_computes(self) -> None:
        for utterance in self._first_utterances(self._kept().data_dir):
            stored = self._stored_features(utterance, "prepared")
            if stored is None:
                continue
            computed = compute_fbank(utterance.audio(FeatureConfig().sample_rate).samples)
            close = stored.shape == computed.shape and np.allclose(
                stored, computed, rtol=0, atol=_ROUNDING
            )
            require(
                close,
                f"the features of {utterance.name} are not those that calve computes of its "
                "audio: take them from calve.data.features.compute_fbank",
            )

    def _spec(self) -> DatasetSpec:
        return registry().datasets.get(self.dataset)

    def _kept(self) -> Prepared:
        return kept_corpus(self._spec(), self.options)

    def _splits(self) -> Sequence[str]:
        chosen = self._spec().splits if self.splits is None else self.splits
        require(bool(chosen), "what was prepared decides which splits there are: name some")
        return chosen

    def _utterances(self, split: str, data_dir: Path | None = None) -> Iterator[Utterance]:
        return iter(self._spec().utterances.load()(data_dir or self._kept().data_dir, split))

    def _first_utterances(self, data_dir: Path) -> Iterator[Utterance]:
        """The first utterances of each split."""
        for split in self._splits():
            yield from islice(self._utterances(split, data_dir), _UTTERANCES_READ)

    def _stored_features(self, utterance: Utterance, what: str) -> Float32Array | None:
        """The features, if any are stored; they must have the right shape."""
        config = FeatureConfig()
        try:
            features = utterance.read_features(config.num_mel_bins)
        except Exception as error:
            fail(f"{what}, the features of {utterance.name} cannot be read: {describe(error)}")
        if features is None:
            return None
        # A frame each 10 ms, and whether the last one is whole is for the extractor to say.
        frames = utterance.duration * 1000 / config.frame_shift_ms
        require(
            features.shape[1] == config.num_mel_bins and abs(len(features) - frames) <= 2,
            f"{what}, {utterance.name} has features of the shape {features.shape}; "
            f"{utterance.duration:.2f} s are {frames:.0f} frames of {config.num_mel_bins}",
        )
        return features

    def _compare_reports(self, reports: Mapping[str, Any], when: str) -> None:
        for stage, expected in self._kept().reports.items():
            require(
                reports[stage] == expected,
                f"{when}, the stage {stage} reports {dict(reports[stage])}, and otherwise "
                f"{dict(expected)}",
            )

    def _compare_files(self, data_dir: Path, when: str) -> None:
        """As many files of each kind, and the same utterances in them."""
        # Their names may be random: lhotse's are.
        expected, found = (
            Counter((name.split("/")[0], Path(name).suffix) for name in snapshot(folder))
            for folder in (self._kept().data_dir, data_dir)
        )
        different = {"/*".join(kind) for kind in (expected - found) | (found - expected)}
        require(
            not different,
            f"{when}, there are more or fewer of {names_of(different)} than otherwise",
        )
        for split in self._splits():
            one, other = (
                [(one.name, one.duration) for one in self._utterances(split, folder)]
                for folder in (self._kept().data_dir, data_dir)
            )
            require(one == other, f"{when}, the split {split} holds other utterances")
