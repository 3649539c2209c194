from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet

from calve.api import DataError
from calve.common.progress import NO_PROGRESS
from calve.data.features import FeatureConfig, compute_fbank
from calve.decoding.splits import read_utterances
from calve.models.checkpoints import read_checkpoint
from calve.protocols.loading import WHOLE, Shard
from calve_lhotse import shar
from calve_lhotse.corpus import Corpus, load_batches, load_cuts, load_parts
from calve_lhotse.librispeech.manifests import manifests
from calve_lhotse.librispeech.options import LibriSpeechOptions
from calve_lhotse.loader import CutBatches
from calve_lhotse.loader_options import SentenceLoaderOptions
from calve_lhotse.stages import features as features_stage
from calve_lhotse.stages.features import features
from calve_lhotse.stages.storage import FeatureShard, SharFolders
from calve_lhotse.stages.validation import validate

from .test_loader import assert_equal, ids
from .test_training import train, wait_for

TRAIN = "train-clean-100"
LILCOM_ROUNDING = 2**-6


@contextmanager
def shards_of(cuts: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features_stage, "CUTS_PER_SHARD", cuts)
        yield


def prepare(options: LibriSpeechOptions, prepared: Path) -> None:
    """Manifests and Shar of seven cuts each; all else as it is in ``prepared``."""
    shutil.copytree(prepared, options.data_dir, ignore=shutil.ignore_patterns("fbank", "manifests"))
    manifests(options, NO_PROGRESS)
    with shards_of(7):
        features(options, NO_PROGRESS)


@pytest.fixture(scope="module")
def with_features(
    librispeech_options: LibriSpeechOptions,
    prepared_librispeech: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> LibriSpeechOptions:
    """A corpus whose features are Shar in two folders, seven cuts a shard."""
    folder = tmp_path_factory.mktemp("shar")
    options = replace(
        librispeech_options,
        data_dir=folder / "data",
        shar_dir=(folder / "disk-1", folder / "disk-2"),
    )
    prepare(options, prepared_librispeech)
    return options


@pytest.fixture(scope="module")
def with_audio(
    librispeech_options: LibriSpeechOptions,
    prepared_librispeech: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> LibriSpeechOptions:
    """A corpus whose audio is Shar; what it was made from is gone."""
    folder = tmp_path_factory.mktemp("shar")
    shutil.copytree(librispeech_options.dl_dir, folder / "download")
    options = replace(
        librispeech_options,
        dl_dir=folder / "download",
        data_dir=folder / "data",
        shar_dir=(folder / "shar",),
        store_features=False,
    )
    prepare(options, prepared_librispeech)
    shutil.rmtree(folder / "download")
    return options


OpenTrain = Callable[..., CutBatches]


@pytest.fixture(params=["with_features", "with_audio"])
def open_train(request: pytest.FixtureRequest) -> OpenTrain:
    """``(shard, **options) -> CutBatches`` of features, and of features computed from audio."""
    data_dir = request.getfixturevalue(request.param).data_dir
    defaults = SentenceLoaderOptions(
        enable_musan=False,
        num_workers=0,
        max_duration=30,
        num_buckets=2,
        on_the_fly_feats=request.param == "with_audio",
    )

    def open_train(shard: Shard = WHOLE, **changes: object) -> CutBatches:
        options = replace(defaults, **changes)
        return load_batches(data_dir, "train", options, training=True, shard=shard)

    return open_train


def folder_in(shar_dir: Path, part: str) -> Path:
    (folder,) = shar_dir.glob(f"librispeech-{part}.*")
    return folder


def test_features_in_shar_are_those_of_the_audio(
    with_features: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    for part in (TRAIN, "dev-clean", "test-clean"):
        stored = load_cuts(prepared_librispeech, part).to_eager()
        in_shar = load_cuts(with_features.data_dir, part).to_eager()
        assert [cut.id for cut in in_shar] == [cut.id for cut in stored]
        for one, other in zip(in_shar, stored, strict=True):
            assert one.supervisions == other.supervisions
            expected = compute_fbank(other.load_audio()[0])
            np.testing.assert_allclose(one.load_features(), expected, atol=LILCOM_ROUNDING)


def test_audio_in_shar_needs_nothing_else(
    with_audio: LibriSpeechOptions, prepared_librispeech: Path
) -> None:
    stored = {cut.id: cut for cut in load_cuts(prepared_librispeech, TRAIN)}
    cuts = load_cuts(with_audio.data_dir, TRAIN).to_eager()
    assert {cut.id for cut in cuts} == {*stored}
    for cut in cuts:
        expected = stored[cut.id].load_audio()
        # flac holds 16 bits, and changes of speed have more.
        np.testing.assert_allclose(cut.load_audio(), expected, rtol=0, atol=2**-15)


def test_lhotse_itself_reads_what_is_written(
    with_features: LibriSpeechOptions, with_audio: LibriSpeechOptions
) -> None:
    cuts = []
    for shar_dir in with_features.shar_dir:
        cuts += CutSet.from_shar(in_dir=folder_in(shar_dir, TRAIN)).to_eager()
    assert len(cuts) == 90
    own = {cut.id: cut for cut in load_cuts(with_features.data_dir, TRAIN)}
    for cut in cuts[::10]:
        np.testing.assert_array_equal(cut.load_features(), own[cut.id].load_features())
    for cut in CutSet.from_shar(in_dir=folder_in(with_audio.shar_dir[0], "dev-clean")):
        assert cut.load_audio().shape == (1, cut.num_samples)


def test_shards_are_dealt_out_among_the_folders(with_features: LibriSpeechOptions) -> None:
    one, other = (
        {path.name for path in folder_in(shar_dir, TRAIN).iterdir()}
        for shar_dir in with_features.shar_dir
    )
    assert {"cuts.000000.jsonl.gz", "features.000000.tar", "cuts.000012.jsonl.gz"} <= one
    assert {"cuts.000001.jsonl.gz", "features.000001.tar", "cuts.000011.jsonl.gz"} <= other
    assert len(one) == 2 * 7
    assert len(other) == 2 * 6


def test_an_epoch_holds_every_utterance_once_and_in_another_order(open_train: OpenTrain) -> None:
    loader = open_train()
    first = ids(list(loader))
    loader.set_epoch(1)
    second = ids(list(loader))
    assert len(first) == 90
    assert sorted(first) == sorted(second)
    assert first != second


def test_shards_come_in_another_order_in_every_epoch(with_features: LibriSpeechOptions) -> None:
    corpus = Corpus.read(with_features.data_dir)
    orders = [
        [cut.id for cut in load_parts(with_features.data_dir, corpus, (TRAIN,), seed)]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("shard", [WHOLE, Shard(1, 2)], ids=["alone", "one of two"])
def test_a_resumed_loader_goes_on_bit_for_bit(open_train: OpenTrain, shard: Shard) -> None:
    loader = open_train(shard)
    loader.set_epoch(1)
    batches = iter(loader)
    list(islice(batches, 2))
    state = loader.state_dict()
    rest = list(batches)
    assert rest

    resumed = open_train(shard)
    resumed.load_state_dict(state)
    assert_equal(list(resumed), rest)


def test_what_was_consumed_is_not_read_again(
    open_train: OpenTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = open_train()
    loader.load_state_dict({"epoch": 0, "batches": 3})
    read: list[str] = []
    original = shar._read_member

    def counted(tar: str, key: str) -> tuple[bytes, str]:
        read.append(key)
        return original(tar, key)

    monkeypatch.setattr(shar, "_read_member", counted)
    rest = list(loader)
    assert rest
    assert sorted(read) == sorted(ids(rest))


def test_worker_processes_change_nothing(open_train: OpenTrain) -> None:
    assert_equal(list(open_train(num_workers=2)), list(open_train()))


def test_two_processes_see_everything_once(open_train: OpenTrain) -> None:
    shards = [ids(list(open_train(Shard(rank, 2)))) for rank in range(2)]
    assert not {*shards[0]} & {*shards[1]}
    assert len({name for shard in shards for name in shard if "_dup" not in name}) == 90


def test_decoding_reads_features_and_audio(
    with_features: LibriSpeechOptions, with_audio: LibriSpeechOptions
) -> None:
    stored = read_utterances("librispeech", with_features.data_dir, "test-clean")
    heard = read_utterances("librispeech", with_audio.data_dir, "test-clean")
    assert [one.text for one in stored] == [one.text for one in heard]
    for one, other in zip(stored, heard, strict=True):
        features = other.features(FeatureConfig())
        np.testing.assert_allclose(one.features(FeatureConfig()), features, atol=LILCOM_ROUNDING)
        np.testing.assert_array_equal(features, compute_fbank(other.audio(16000).samples))


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_bit_for_bit(
    with_features: LibriSpeechOptions, tmp_path: Path
) -> None:
    options = ("--num-epochs", "1", "--num-workers", "1", "--enable-musan", "0")

    def start(name: str, *more: str) -> subprocess.Popen[str]:
        exp_dir = tmp_path / name
        return train(with_features.data_dir, exp_dir, *options, *more, corpus="librispeech")

    def finish(process: subprocess.Popen[str]) -> None:
        said = process.communicate(timeout=240)[1]
        assert process.returncode == 0, said

    finish(start("undisturbed"))
    killed = start("killed")
    wait_for(tmp_path / "killed" / "checkpoint-4.pt")
    killed.kill()
    killed.communicate(timeout=60)
    assert not (tmp_path / "killed" / "epoch-1.pt").exists()
    finish(start("killed", "--resume", "1"))
    models = [
        read_checkpoint(tmp_path / name / "epoch-1.pt")["model"]
        for name in ("undisturbed", "killed")
    ]
    for name, weight in models[0].items():
        assert torch.equal(weight, models[1][name]), name


def test_preparing_again_writes_nothing(with_features: LibriSpeechOptions) -> None:
    def times() -> list[int]:
        return [
            path.stat().st_mtime_ns
            for shar_dir in with_features.shar_dir
            for path in sorted(shar_dir.rglob("*"))
        ]

    before = times()
    with shards_of(7):
        features(with_features, NO_PROGRESS)
    assert times() == before


@pytest.fixture
def fresh(librispeech_options: LibriSpeechOptions, tmp_path: Path) -> LibriSpeechOptions:
    """Options for Shar of a test's own, at one speed; manifests are there."""
    options = replace(
        librispeech_options,
        data_dir=tmp_path / "data",
        shar_dir=(tmp_path / "shar",),
        speed_factors=(),
    )
    manifests(options, NO_PROGRESS)
    return options


@pytest.mark.parametrize("changes", [{"speed_factors": (1.1,)}, {"shar_dir": ()}])
def test_shards_that_are_replaced_are_removed(
    fresh: LibriSpeechOptions, changes: dict[str, object]
) -> None:
    features(fresh, NO_PROGRESS)
    first = folder_in(fresh.shar_dir[0], TRAIN)
    assert first.is_dir()
    features(replace(fresh, **changes), NO_PROGRESS)
    assert not first.exists()
    assert load_cuts(fresh.data_dir, TRAIN).to_eager()


def test_shards_are_made_again_when_their_list_is_gone(fresh: LibriSpeechOptions) -> None:
    features(fresh, NO_PROGRESS)
    tar = first_tar(fresh, TRAIN)
    tar.write_bytes(b"damaged")
    shutil.rmtree(fresh.data_dir / "fbank" / TRAIN)
    features(fresh, NO_PROGRESS)
    assert len([cut.load_features() for cut in load_cuts(fresh.data_dir, TRAIN)]) == 30


def test_interrupted_shards_are_kept(
    fresh: LibriSpeechOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = SharFolders.write

    def interrupted(self: SharFolders, shard: FeatureShard) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(shard.number)
        write(self, shard)

    monkeypatch.setattr(SharFolders, "write", interrupted)
    with shards_of(7), pytest.raises(KeyboardInterrupt):
        features(fresh, NO_PROGRESS)
    assert written == [0, 1, 2]

    def counted(self: SharFolders, shard: FeatureShard) -> None:
        written.append(shard.number)
        write(self, shard)

    monkeypatch.setattr(SharFolders, "write", counted)
    with shards_of(7):
        features(fresh, NO_PROGRESS)
    assert written[:5] == [0, 1, 2, 3, 4]
    assert len(load_cuts(fresh.data_dir, TRAIN).to_eager()) == 30


@pytest.fixture
def damaged(with_features: LibriSpeechOptions, tmp_path: Path) -> LibriSpeechOptions:
    """A copy that a test may damage."""
    root = with_features.data_dir.parent
    shutil.copytree(root, tmp_path / "copy")
    for listing in (tmp_path / "copy").rglob("*_shards_*.json"):
        listing.write_text(listing.read_text().replace(str(root), str(tmp_path / "copy")))
    return replace(
        with_features,
        data_dir=tmp_path / "copy" / "data",
        shar_dir=tuple(tmp_path / "copy" / path.name for path in with_features.shar_dir),
    )


def first_tar(options: LibriSpeechOptions, part: str) -> Path:
    return folder_in(options.shar_dir[0], part) / "features.000000.tar"


@pytest.mark.parametrize("read_before", [False, True])
def test_validation_finds_a_truncated_tar_file(
    damaged: LibriSpeechOptions, read_before: bool
) -> None:
    if read_before:
        validate(damaged, NO_PROGRESS)
    tar = first_tar(damaged, "dev-clean")
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(DataError, match="dev-clean is damaged"):
        validate(damaged, NO_PROGRESS)


def test_a_missing_tar_file_names_the_utterance(damaged: LibriSpeechOptions) -> None:
    first_tar(damaged, "dev-clean").unlink()
    options = SentenceLoaderOptions(enable_musan=False, num_workers=0, max_duration=20)
    with pytest.raises(DataError, match=r"cannot read the features.*features\.000000\.tar"):
        list(load_batches(damaged.data_dir, "valid", options, training=False))


def test_a_missing_shard_says_what_to_do(damaged: LibriSpeechOptions) -> None:
    shutil.rmtree(damaged.shar_dir[1])
    options = SentenceLoaderOptions(enable_musan=False)
    with pytest.raises(DataError, match="a shard is missing") as caught:
        load_batches(damaged.data_dir, "train", options, training=True)
    assert "disk-2" in str(caught.value.where)
    assert "mount its disk" in str(caught.value.fix)


def test_a_damaged_list_of_shards_is_named(damaged: LibriSpeechOptions) -> None:
    (listing,) = damaged.data_dir.rglob("librispeech_shards_dev-clean.json")
    listing.write_text(json.dumps(3))
    with pytest.raises(DataError, match="list of shards") as caught:
        load_cuts(damaged.data_dir, "valid")
    assert caught.value.where == str(listing)


def test_a_shard_that_is_listed_twice_is_not_trained_on_twice(damaged: LibriSpeechOptions) -> None:
    (listing,) = damaged.data_dir.rglob("librispeech_shards_dev-clean.json")
    listing.write_text(json.dumps(json.loads(listing.read_text()) * 1000))
    with pytest.raises(DataError, match=r"listed 1000 times: cuts\.000000") as caught:
        load_cuts(damaged.data_dir, "valid")
    assert caught.value.where == str(listing)


def test_a_tar_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "recording.tar"
    for text in (b"first", b"the second"):
        with tarfile.open(path, "w") as archive:
            for name, data in (("before.flac", text), ("cut.flac", text)):
                member = tarfile.TarInfo(name)
                member.size = len(data) * 300
                archive.addfile(member, io.BytesIO(data * 300))
        assert shar._read_member(str(path), "cut") == (text * 300, ".flac")
