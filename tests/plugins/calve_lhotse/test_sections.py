"""Epochs in sections, on cuts that are only lines: nothing here has audio or features."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut

from calve.api import DataError
from calve.protocols.loading import Shard
from calve_lhotse import sections
from calve_lhotse.loader import CutBatches
from calve_lhotse.loader_options import LhotseLoaderOptions
from calve_lhotse.sections import CutFiles, read_section, section_of

CUTS = 4001
SECTION = 500
"""The last section holds a single cut."""


class NoSymbols:
    """Stands for a sentencepiece model: the cuts have no words."""

    @staticmethod
    def encode(texts: list[str]) -> list[list[int]]:
        return [[] for _ in texts]


class Names:
    """Stands for a `BatchMaker`: a batch is the names of its cuts, and its seed."""

    subwords = NoSymbols

    @staticmethod
    def make(cuts: CutSet, seed: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return tuple(cut.id for cut in cuts), seed


def cut(number: int, duration: float) -> MonoCut:
    return MonoCut(id=f"cut-{number}", start=0.0, duration=duration, channel=0)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lengths = random.Random(0)
    path = tmp_path_factory.mktemp("cuts") / "cuts.jsonl.gz"
    cuts = [cut(number, round(lengths.uniform(1.0, 17.0), 2)) for number in range(CUTS)]
    CutSet.from_cuts(cuts).to_file(path)
    return path


@pytest.fixture
def made_of_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cuts that lines were made into, while the test runs."""
    names: list[str] = []

    def deserialize(fields: dict[str, str]) -> MonoCut:
        names.append(fields["id"])
        return MonoCut.from_dict(fields)

    monkeypatch.setattr(sections, "deserialize_item", deserialize)
    return names


def as_it_is(path: Path) -> CutFiles:
    return CutFiles([path], lambda cut, _: cut)


def loader(manifest: Path, shard: Shard | None = None, **options: float) -> CutBatches:
    return CutBatches(
        lambda epoch, first, count: read_section([as_it_is(manifest)], first, count),
        Names(),
        LhotseLoaderOptions(max_duration=100.0, num_workers=0, **options),
        shuffle=True,
        shard=shard or Shard(),
        cuts_per_section=SECTION,
    )


def test_utterances_that_are_too_short_or_too_long_are_not_trained_on(manifest: Path) -> None:
    lasting = {cut.id: cut.duration for cut in read_section([as_it_is(manifest)])}
    batches = loader(manifest, shortest_utterance=2.0, longest_utterance=12.5)
    seen = [name for names, _ in batches for name in names]
    wanted = [name for name, duration in lasting.items() if 2.0 <= duration <= 12.5]
    assert sorted(seen) == sorted(wanted)
    assert len(wanted) < CUTS


@pytest.mark.parametrize("shortest", [17.5, 60.0])
def test_an_epoch_without_any_utterance_is_empty(manifest: Path, shortest: float) -> None:
    assert list(loader(manifest, shortest_utterance=shortest)) == []


@pytest.mark.parametrize("bucketing", [True, False])
def test_an_epoch_of_many_sections_holds_every_cut_once(manifest: Path, bucketing: bool) -> None:
    batches = list(loader(manifest, bucketing_sampler=bucketing))
    names = [name for batch, _ in batches for name in batch]
    assert sorted(names) == sorted(f"cut-{number}" for number in range(CUTS))
    assert len({seed for _, seed in batches}) == len(batches)


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize("shard", [Shard(), Shard(1, 2)])
def test_continuing_in_any_section_goes_on_with_the_same_batches(
    manifest: Path, bucketing: bool, shard: Shard
) -> None:
    whole = loader(manifest, shard, bucketing_sampler=bucketing)
    whole.set_epoch(3)
    places, batches = [], []
    for batch in whole:
        places.append(whole.state_dict())
        batches.append(batch)
    for index in random.Random(0).sample(range(len(places)), 12):
        resumed = loader(manifest, shard, bucketing_sampler=bucketing)
        resumed.load_state_dict(places[index])
        following = list(islice(resumed, 3))
        assert following == batches[index + 1 : index + 4]


def test_continuing_late_in_an_epoch_costs_no_more_than_continuing_early(
    manifest: Path, made_of_lines: list[str]
) -> None:
    whole = loader(manifest)
    places = []
    for _ in whole:
        places.append(whole.state_dict())
    late = [place for place in places if place["section"] == CUTS // SECTION - 1][-1]
    del made_of_lines[:]
    resumed = loader(manifest)
    resumed.load_state_dict(late)
    assert [len(names) for names, _ in resumed] == [1]
    # To see that there are any, to count them, to choose buckets, and to fill these.
    assert len(made_of_lines) <= 4 * (SECTION + 1)
    assert {*made_of_lines} == {f"cut-{number}" for number in range(CUTS - SECTION - 1, CUTS)}


def test_several_files_take_turns_and_sections_are_pieces_of_that_order(
    manifest: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl.gz"
    with gzip.open(other, "wt") as file:
        for number in range(CUTS, CUTS + 600):
            file.write(json.dumps(cut(number, 2.0).to_dict()) + "\n")
    parts = [as_it_is(manifest), as_it_is(other)]
    whole = [cut.id for cut in read_section(parts)]
    assert len({*whole}) == CUTS + 600
    pieces = [read_section(parts, first, 700) for first in range(0, 5000, 700)]
    assert [cut.id for piece in pieces for cut in piece] == whole
    early = sum(int(name.removeprefix("cut-")) >= CUTS for name in whole[:1000])
    assert 50 < early < 250


def test_a_section_of_cuts_in_memory_is_the_same_as_one_of_lines(manifest: Path) -> None:
    cuts = read_section([as_it_is(manifest)]).to_eager()
    for first, count in ((0, 10), (3990, 20), (CUTS, 5), (20, None)):
        names = [cut.id for cut in section_of(cuts, first, count)]
        assert names == [cut.id for cut in read_section([as_it_is(manifest)], first, count)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"this is no archive",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: gzip.compress(b"this is no JSON\n"),
        lambda whole: gzip.compress(b"{}\n"),
    ],
)
def test_a_damaged_file_of_cuts_is_an_error_that_names_it(
    manifest: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(damage(manifest.read_bytes()))
    with pytest.raises(DataError, match="cannot read the cuts") as raised:
        list(loader(path))
    assert raised.value.where == str(path)
