from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fatal_storage import FatalArchives

from calve.api import CalveError, DataError
from calve.common.progress import NO_PROGRESS
from calve.data.audio import read_audio
from calve.data.features import compute_fbank
from calve.data.tokens import SymbolTable
from calve_graphs.graph import DecodingGraph
from calve_lhotse.corpus import Corpus, cuts_path, load_batches, load_cuts
from calve_lhotse.librispeech.manifests import manifests
from calve_lhotse.librispeech.options import LibriSpeechOptions
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.stages import features as features_stage
from calve_lhotse.stages.features import features
from calve_lhotse.stages.lang import lang
from calve_lhotse.stages.storage import Archives, FeatureShard
from calve_lhotse.stages.validation import validate

from .conftest import run_stages

PARTS = ("train-clean-100", "dev-clean", "test-clean")


def files(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def listed(data_dir: Path, part: str) -> bytes:
    return gzip.decompress(cuts_path(data_dir, Corpus.read(data_dir), part).read_bytes())


def assert_same_corpus(first: Path, second: Path) -> None:
    """The same manifests byte for byte, and the same features."""
    for part in PARTS:
        assert listed(first, part) == listed(second, part)
        for one, other in zip(load_cuts(first, part), load_cuts(second, part), strict=True):
            np.testing.assert_array_equal(one.load_features(), other.load_features())


@pytest.fixture
def fresh(librispeech_options: LibriSpeechOptions, tmp_path: Path) -> LibriSpeechOptions:
    return replace(librispeech_options, data_dir=tmp_path / "data")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_stage, "CUTS_PER_SHARD", 10)


def test_every_utterance_is_there_with_the_words_of_its_transcript(
    librispeech: Path, prepared_librispeech: Path
) -> None:
    for part in PARTS:
        said = {}
        for path in (librispeech / "LibriSpeech" / part).glob("*/*/*.trans.txt"):
            said.update(line.split(" ", 1) for line in path.read_text().splitlines())
        own_speed = {
            cut.id: cut.supervisions[0].text
            for cut in load_cuts(prepared_librispeech, part)
            if "_sp" not in cut.id
        }
        assert own_speed == said


def test_training_data_are_heard_at_three_speeds_and_the_others_at_one(
    prepared_librispeech: Path,
) -> None:
    train = {cut.id: cut for cut in load_cuts(prepared_librispeech, "train")}
    own = [name for name in train if "_sp" not in name]
    assert len(train) == 3 * len(own) == 90
    for name in own:
        for factor in (0.9, 1.1):
            slowed = train[f"{name}_sp{factor}"].duration
            assert slowed == pytest.approx(train[name].duration / factor, abs=1e-3)
    assert len(load_cuts(prepared_librispeech, "valid").to_eager()) == 8


def test_stored_features_are_those_of_the_audio(prepared_librispeech: Path) -> None:
    cut = load_cuts(prepared_librispeech, "test-clean").to_eager()[0]
    expected = compute_fbank(read_audio(cut.recording.sources[0].source).samples)
    # lilcom stores multiples of 2**-5, rounded to the nearest.
    np.testing.assert_allclose(cut.load_features(), expected, rtol=0, atol=2**-6)
    assert expected.shape[1] == 80


def test_each_vocabulary_size_gets_its_model_lexicon_and_graph(prepared_librispeech: Path) -> None:
    for size in (40, 30):
        folder = prepared_librispeech / f"lang_bpe_{size}"
        assert len(SymbolTable.read(folder / "tokens.txt")) == size
        words = {line.split()[0] for line in (folder / "lexicon.txt").read_text().splitlines()}
        assert {"ZERO", "NINE"} <= words
        assert len(DecodingGraph.read(folder / "LG.npz").label) > 0
        assert (folder / "G.fst.txt").stat().st_size > 0
    assert (prepared_librispeech / "lang").resolve().name == "lang_bpe_40"


def test_preparing_again_writes_nothing_and_reports_the_same(
    librispeech_options: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    first, before = run_stages("librispeech", librispeech_options), files(prepared_librispeech)
    assert run_stages("librispeech", librispeech_options) == first
    assert files(prepared_librispeech) == before
    assert first["features"]["train-clean-100"]["cuts"] == 90


@pytest.mark.usefixtures("small_shards")
def test_interrupted_features_go_on_where_they_were(
    fresh: LibriSpeechOptions, prepared_librispeech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests(fresh, NO_PROGRESS)
    done: list[int] = []
    write = Archives.write

    def interrupted(self: Archives, shard: FeatureShard) -> None:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(shard.number)
        write(self, shard)

    monkeypatch.setattr(Archives, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        features(fresh, NO_PROGRESS)
    assert not (fresh.data_dir / "fbank" / "train-clean-100").exists()

    again: list[int] = []

    def counted(self: Archives, shard: FeatureShard) -> None:
        again.append(shard.number)
        write(self, shard)

    monkeypatch.setattr(Archives, "write", counted)
    features(fresh, NO_PROGRESS)
    assert again[:5] == [4, 5, 6, 7, 8]
    for part in PARTS:
        names = [cut.id for cut in load_cuts(fresh.data_dir, part)]
        assert names == [cut.id for cut in load_cuts(prepared_librispeech, part)]


def test_two_processes_make_the_same_as_one(
    fresh: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    manifests(fresh, NO_PROGRESS)
    features(replace(fresh, jobs=2), NO_PROGRESS)
    assert_same_corpus(prepared_librispeech, fresh.data_dir)


def test_a_cluster_makes_the_same_as_this_machine(
    fresh: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    from distributed import LocalCluster

    manifests(fresh, NO_PROGRESS)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        features(replace(fresh, dask=cluster.scheduler_address), NO_PROGRESS)
    assert_same_corpus(prepared_librispeech, fresh.data_dir)


@pytest.fixture
def fatal(
    fresh: LibriSpeechOptions, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> LibriSpeechOptions:
    """Options for a folder where the extraction of features kills one of its processes."""
    monkeypatch.setattr(features_stage, "Archives", FatalArchives)
    manifests(fresh, NO_PROGRESS)
    return fresh


@pytest.fixture
def undisturbed(fresh: LibriSpeechOptions, small_shards: None) -> Path:
    """The data directory that one process made in peace, with the same shards."""
    options = replace(fresh, data_dir=fresh.data_dir.with_name("undisturbed"))
    manifests(options, NO_PROGRESS)
    features(options, NO_PROGRESS)
    return options.data_dir


def assert_as_if_nothing_had_happened(data_dir: Path, undisturbed: Path) -> None:
    assert (data_dir.parent / "killed").exists()
    assert_same_corpus(data_dir, undisturbed)
    assert {*files(data_dir / "fbank")} == {*files(undisturbed / "fbank")}


@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing_that_was_finished(
    undisturbed: Path, fatal: LibriSpeechOptions
) -> None:
    with pytest.raises(CalveError, match="a worker process ended"):
        features(replace(fatal, jobs=2), NO_PROGRESS)
    (unfinished,) = (fatal.data_dir / "fbank").glob(".train-clean-100.*")
    finished = {path: path.stat().st_mtime_ns for path in unfinished.glob("feats-*.lca")}
    assert finished

    features(replace(fatal, jobs=2), NO_PROGRESS)
    final = fatal.data_dir / "fbank" / "train-clean-100"
    for path, written in finished.items():
        assert (final / path.name).stat().st_mtime_ns == written
    assert_as_if_nothing_had_happened(fatal.data_dir, undisturbed)


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_loses_nothing(
    undisturbed: Path, fatal: LibriSpeechOptions
) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        features(replace(fatal, dask=cluster.scheduler_address), NO_PROGRESS)
    assert_as_if_nothing_had_happened(fatal.data_dir, undisturbed)


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_batches_hold_features_and_tokens(prepared_librispeech: Path, on_the_fly: bool) -> None:
    options = SentenceLoaderOptions(
        enable_musan=False, num_workers=0, max_duration=20, on_the_fly_feats=on_the_fly
    )
    batches = list(load_batches(prepared_librispeech, "valid", options, training=False))
    assert sum(len(batch.features) for batch in batches) == 8
    assert {batch.features.shape[2] for batch in batches} == {80}


def test_without_musan_training_says_how_to_go_on(prepared_librispeech: Path) -> None:
    with pytest.raises(DataError, match="MUSAN has not been prepared") as caught:
        load_batches(prepared_librispeech, "train", SentenceLoaderOptions(), training=True)
    assert "--enable-musan 0" in str(caught.value.fix)


@pytest.fixture
def copied(fresh: LibriSpeechOptions, librispeech: Path, tmp_path: Path) -> LibriSpeechOptions:
    """Options for a copy that a test may damage."""
    shutil.copytree(librispeech, tmp_path / "copy")
    return replace(fresh, dl_dir=tmp_path / "copy")


def chapter(options: LibriSpeechOptions, part: str = "dev-clean") -> Path:
    return options.dl_dir / "LibriSpeech" / part / "19" / "198"


def test_a_missing_download_names_the_folder(fresh: LibriSpeechOptions, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="LibriSpeech is not here"):
        manifests(replace(fresh, dl_dir=tmp_path), NO_PROGRESS)


def test_missing_training_parts_are_named(fresh: LibriSpeechOptions) -> None:
    with pytest.raises(DataError, match="train-clean-360, train-other-500"):
        manifests(replace(fresh, full_libri=True), NO_PROGRESS)


def test_a_missing_recording_is_named(copied: LibriSpeechOptions) -> None:
    (chapter(copied) / "19-198-0000.flac").unlink()
    with pytest.raises(DataError, match=r"19-198-0000\.flac is missing"):
        manifests(copied, NO_PROGRESS)


def test_a_damaged_recording_is_named(copied: LibriSpeechOptions) -> None:
    (chapter(copied) / "19-198-0000.flac").write_bytes(b"fLaC")
    with pytest.raises(DataError, match="19-198-0000"):
        manifests(copied, NO_PROGRESS)


def test_mixed_sampling_rates_are_refused(copied: LibriSpeechOptions) -> None:
    path = chapter(copied) / "19-198-0000.flac"
    samples, _ = soundfile.read(path)
    soundfile.write(path, samples, 8000)
    with pytest.raises(DataError, match="1 at 8000 Hz, 7 at 16000 Hz"):
        manifests(copied, NO_PROGRESS)


def test_an_empty_transcript_is_refused_with_its_line(copied: LibriSpeechOptions) -> None:
    path = chapter(copied) / "19-198.trans.txt"
    path.write_text("19-198-0000 \n")
    with pytest.raises(DataError, match="has no transcript") as caught:
        manifests(copied, NO_PROGRESS)
    assert "line 1" in str(caught.value.where)


def test_features_before_manifests_name_the_stage(fresh: LibriSpeechOptions) -> None:
    with pytest.raises(DataError, match="no corpus has been prepared here"):
        features(fresh, NO_PROGRESS)


@pytest.mark.parametrize("parts", ['[["dev"]]', '"dev"', "{}", "[" * 100 + "]" * 100])
def test_a_damaged_description_of_the_corpus_counts_as_none(
    fresh: LibriSpeechOptions, parts: str
) -> None:
    path = Corpus.path(fresh.data_dir)
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"name": "own", "parts": ["a"], "train": ["a"], "valid": {parts}}}')
    with pytest.raises(DataError, match="no corpus has been prepared here"):
        Corpus.read(fresh.data_dir)


def test_a_folder_in_place_of_the_link_to_the_lang_folder_is_named(
    librispeech_options: LibriSpeechOptions, prepared_librispeech: Path, tmp_path: Path
) -> None:
    copied = replace(librispeech_options, data_dir=tmp_path / "data")
    shutil.copytree(prepared_librispeech, copied.data_dir)
    with pytest.raises(DataError, match="this is a folder; calve makes a link here") as caught:
        lang(copied, NO_PROGRESS)
    assert caught.value.where == str(copied.data_dir / "lang")


def test_validation_finds_lost_cuts_and_damaged_archives(
    fresh: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    shutil.copytree(prepared_librispeech, fresh.data_dir, symlinks=True)
    validate(fresh, NO_PROGRESS)
    path = cuts_path(fresh.data_dir, Corpus.read(fresh.data_dir), "dev-clean")
    whole = path.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[1:])))
    with pytest.raises(DataError, match="7 cuts, but its transcripts call for 8"):
        validate(fresh, NO_PROGRESS)
    path.write_bytes(whole)
    archive = fresh.data_dir / json.loads(lines[0])["features"]["storage_path"]
    archive.write_bytes(b"")
    with pytest.raises(DataError, match="dev-clean is damaged"):
        validate(fresh, NO_PROGRESS)
