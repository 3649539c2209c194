from __future__ import annotations

from pathlib import Path

import pytest

from calve.api import ConfigError
from calve_ncnn.layout import param_path
from calve_ncnn.metadata import infer_table, read_table, store, without_metadata
from calve_ncnn.param import ParamFile

TABLE = {"arch": 3, "num_encoder_layers": 3, "encoder_dim": 32, "rnn_hidden_size": 48}
CONV_EMFORMER = {
    **{"arch": 1, "num_encoder_layers": 12, "memory_size": 32, "cnn_module_kernel": 31},
    **{"left_context_length": 8, "chunk_length": 32, "right_context_length": 8, "encoder_dim": 512},
}


def encoder_text(folder: Path) -> str:
    return param_path(folder, "encoder").read_text()


@pytest.fixture(params=["20240819", "20250930", "20260526", "20261020"])
def bare_dir(request: pytest.FixtureRequest, goldens: Path, tmp_path: Path) -> Path:
    """An encoder as pnnx left it."""
    source = goldens / "ncnn_int8" / f"pnnx-{request.param}" / "encoder.fp16.param"
    param_path(tmp_path, "encoder").write_bytes(source.read_bytes())
    return tmp_path


def test_stamping_adds_one_line_and_one_layer(bare_dir: Path) -> None:
    before = encoder_text(bare_dir).splitlines()
    store.write(bare_dir, TABLE)
    after = encoder_text(bare_dir).splitlines()
    layers, blobs = before[1].split()
    assert after[0] == before[0]
    assert after[1] == f"{int(layers) + 1} {blobs}"
    assert after[2] == ("SherpaMetaData           sherpa_meta_data1        0 0 0=3 1=3 2=32 3=48")
    assert after[3:] == before[2:]


def test_stamping_again_replaces(bare_dir: Path) -> None:
    store.write(bare_dir, {**TABLE, "encoder_dim": 7})
    store.write(bare_dir, TABLE)
    once = encoder_text(bare_dir)
    store.write(bare_dir, TABLE)
    assert encoder_text(bare_dir) == once
    assert store.read(bare_dir) == TABLE


def test_an_unstamped_encoder_reads_as_none_and_tells_what_it_needs(bare_dir: Path) -> None:
    assert store.read(bare_dir) is None
    assert store.infer(bare_dir) == TABLE


def test_a_count_that_was_never_raised_is_mended(bare_dir: Path) -> None:
    store.write(bare_dir, TABLE)
    good = encoder_text(bare_dir)
    lines = good.split("\n")
    lines[1] = " ".join((str(int(lines[1].split()[0]) - 1), lines[1].split()[1]))
    param_path(bare_dir, "encoder").write_text("\n".join(lines))
    store.write(bare_dir, TABLE)
    assert encoder_text(bare_dir) == good


def test_ncnn_sees_the_network_as_it_was(bare_dir: Path) -> None:
    before = ParamFile.read(param_path(bare_dir, "encoder"))
    store.write(bare_dir, TABLE)
    assert without_metadata(ParamFile.read(param_path(bare_dir, "encoder"))) == before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"encoder_dim": 32}, "needs the architecture"),
        ({"arch": 3, "encoder_dim": 32}, "also needs num_encoder_layers, rnn_hidden_size"),
        ({**TABLE, "d_model": 5}, "cannot hold d_model=5"),
        ({**TABLE, "encoder_dim": "wide"}, "cannot hold encoder_dim=wide"),
    ],
)
def test_a_table_that_sherpa_ncnn_would_misread_is_refused(
    bare_dir: Path, table: dict[str, int | str], message: str
) -> None:
    before = encoder_text(bare_dir)
    with pytest.raises(ConfigError, match=message):
        store.write(bare_dir, table)
    assert encoder_text(bare_dir) == before


def test_each_architecture_has_keys_of_its_own(bare_dir: Path) -> None:
    """The line is the one that icefall's documentation has people write by hand."""
    store.write(bare_dir, CONV_EMFORMER)
    header = "SherpaMetaData           sherpa_meta_data1        0 0"
    parameters = "0=1 1=12 2=32 3=31 4=8 5=32 6=8 7=512"
    assert f"{header} {parameters}" in encoder_text(bare_dir).splitlines()
    assert store.read(bare_dir) == CONV_EMFORMER


def test_another_architecture_is_written_and_read_by_number(bare_dir: Path) -> None:
    table = {"arch": 2, "1": 32, "15": 1}
    store.write(bare_dir, table)
    assert store.read(bare_dir) == table


def test_a_network_without_lstm_tells_nothing() -> None:
    param = ParamFile.parse("7767517\n1 1\nInput in0 0 1 in0\n")
    assert infer_table(param) is None
    assert read_table(param) is None
