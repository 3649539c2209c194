from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calve.api import DataError
from calve_ncnn.int8.table import ScaleTable

TABLES = [
    f"pnnx-{version}/{network}.table"
    for version in ("20240819", "20250930", "20260526", "20261020")
    for network in ("encoder", "decoder", "joiner")
]


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_ncnn2table_survive_a_round_trip(
    goldens: Path, tmp_path: Path, name: str
) -> None:
    table = ScaleTable.read(goldens / "ncnn_int8" / name)
    table.write(tmp_path / "table")
    again = ScaleTable.read(tmp_path / "table")
    assert again.inputs == table.inputs
    assert again.weights.keys() == table.weights.keys()
    for layer, keys in table.weights.items():
        assert again.weights[layer].keys() == keys.keys()
        for key, scales in keys.items():
            np.testing.assert_array_equal(again.weights[layer][key], scales)


def test_lines_are_what_ncnns_tools_scan(tmp_path: Path) -> None:
    scales = np.float32([1e-7, 0.1, 127 / 3, 3e7])
    table = ScaleTable({"lstm_1": {"_param_0": scales, "_param_1": scales}}, {"fc": 12.5})
    table.write(tmp_path / "table")
    lines = (tmp_path / "table").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["lstm_1_param_0", "lstm_1_param_1", "fc"]
    for line in lines:
        for word in line.split()[1:]:
            assert re.fullmatch(r"\d+(\.\d+)?(e[+-]\d+)?", word)  # C's %f reads this
    read = np.array(lines[0].split()[1:], np.float32)
    np.testing.assert_array_equal(read, scales)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("fc 1.0\nfc 2.0\n", "fc has two lines"),
        ("fc_param_0 1 2\nfc_param_0 1 2\n", "fc_param_0 has two lines"),
        ("fc nan\n", "impossible scale nan"),
        ("fc inf\n", "impossible scale inf"),
        ("fc_param_0 1 0 2\n", "impossible scale 0"),
        ("fc -3\n", "impossible scale -3"),
        ("fc_param_0 1 two\n", "not a number"),
        ("fc_param_0\n", "has no scale"),
        ("fc 1 2\n", "2 scales instead of 1"),
    ],
)
def test_an_impossible_line_is_named_with_its_number(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "table.txt"
    path.write_text("good_param_0 1 2\n\n" + text)
    with pytest.raises(DataError, match=re.escape(what)) as caught:
        ScaleTable.read(path)
    assert re.search(r"table\.txt:[34]$", caught.value.where or "")


def test_a_missing_or_binary_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such scale table"):
        ScaleTable.read(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="the scale table is not UTF-8 text"):
        ScaleTable.read(tmp_path / "binary")
