"""The fuzzer itself: the judge sees every kind of fault, and a seed makes the same case again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fuzzing.arrays import edit_arrays
from fuzzing.blobs import edit_bytes, edit_lines
from fuzzing.campaign import planned
from fuzzing.formats import FORMATS
from fuzzing.judging import Snapshot, judge
from fuzzing.server import Limits, Server
from fuzzing.trees import as_toml, edit_tree


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def case(tmp_path: Path) -> Path:
    for name in ("work", "tmp", "home"):
        (tmp_path / name).mkdir()
    for name in ("stdout", "stderr", "work/input.txt"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("does", "kinds"),
    [
        ("nothing_wrong", set()),
        ("crashes", {"crash"}),
        ("hangs", {"no answer"}),
        ("works_for_ever", {"no answer"}),
        ("is_unexpected", {"unexpected error"}),
        ("exits_oddly", {"odd exit code"}),
        ("fails_in_silence", {"failure without a word"}),
        ("leaves_half_an_output", {"half-written output"}),
        ("leaves_a_hidden_output", {"left beside the output"}),
        ("leaves_a_scratch_folder", {"left in TMPDIR"}),
        ("writes_elsewhere", {"wrote elsewhere"}),
        ("changes_an_input", {"wrote elsewhere"}),
        ("executes", {"executed"}),
        ("tells_a_secret", {"secret shown"}),
        ("prints_escapes", {"control character printed"}),
        ("prints_broken_json", {"broken JSON"}),
    ],
)
def test_the_judge_sees(does: str, kinds: set[str], server: Server, case: Path) -> None:
    snapshot = Snapshot(case)
    limits = Limits(seconds=4, processor_seconds=2)
    ended = server.run([f"fuzzing_faults:{does}"], case, limits)
    faults = judge(ended, case, snapshot, output="output", prints_json=True)
    assert {fault.kind for fault in faults} == kinds


def test_a_command_runs_as_in_a_process_of_its_own(server: Server, case: Path) -> None:
    ended = server.run(["inspect", "not-there", "--json"], case)
    assert ended.code == 1
    assert "not-there" in (case / "stderr").read_text()


def test_a_campaign_covers_every_format() -> None:
    names = planned(2000)
    assert abs(len(names) - 2000) < 50
    assert {name.rpartition("/")[0] for name in names} == {one.name for one in FORMATS}


def test_the_seed_decides_the_mutation(tmp_path: Path) -> None:
    said = []
    for copy in ("first", "second"):
        folder = tmp_path / copy
        folder.mkdir()
        np.savez(folder / "a.npz", one=np.arange(5), two=np.zeros((2, 3), np.float32))
        (folder / "b.txt").write_text("one 1\ntwo 2\nthree 3\n")
        (folder / "c.bin").write_bytes(bytes(range(256)))
        rng = Random("7/format/3")
        edits = (edit_arrays(rng, folder / "a.npz"), edit_lines(rng, folder / "b.txt"))
        tree = edit_tree(rng, {"a": [1, 2], "b": {"c": "d"}})
        content = [path.read_bytes() for path in sorted(folder.iterdir())]
        said.append((edits, edit_bytes(rng, folder / "c.bin"), repr(tree), content))
    assert said[0] == said[1]


def test_a_tree_is_written_as_toml() -> None:
    tree = {"model": {"a": 1, "b": [1.5, "x"], "c": True}, "top": "é"}
    assert as_toml(tree) == '"top" = "é"\n["model"]\n"a" = 1\n"b" = [1.5, "x"]\n"c" = true\n'
