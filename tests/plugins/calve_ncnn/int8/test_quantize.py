"""int8 files against those of ncnn's own tools, against bytes worked out by hand, and in ncnn."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
import pytest

from calve_ncnn.int8.layers import int8_weights, is_int8
from calve_ncnn.int8.quantize import NetworkFiles, write_network
from calve_ncnn.int8.scales import weight_scales
from calve_ncnn.int8.table import ScaleTable
from calve_ncnn.param import ParamFile

# An operator that ncnn does not have stays in the decoder of the 2024 conversion.
PAIRS = [
    (version, network)
    for version in ("pnnx-20240819", "pnnx-20250930", "pnnx-20260526", "pnnx-20261020")
    for network in ("encoder", "decoder", "joiner")
    if (version, network) != ("pnnx-20240819", "decoder")
]


def open_golden(goldens: Path, version: str, network: str, precision: str) -> NetworkFiles:
    stem = goldens / "ncnn_int8" / version / f"{network}.{precision}"
    return NetworkFiles.of(network, Path(f"{stem}.param"), Path(f"{stem}.bin"))


def golden_table(goldens: Path, version: str, network: str) -> ScaleTable:
    return ScaleTable.read(goldens / "ncnn_int8" / version / f"{network}.table")


def quantize(network: NetworkFiles, table: ScaleTable, folder: Path) -> NetworkFiles:
    """Everything that can be int8, with the table's scales where it has them."""
    int8 = [name for name, layer in network.layers.items() if int8_weights(layer)]
    weights = {
        name: weight_scales(network.layers[name], network.arrays(name))
        | dict(table.weights.get(name, {}))
        for name in int8
    }
    param, weights_file = folder / "int8.param", folder / "int8.bin"
    write_network(network, ScaleTable(weights, table.inputs), int8, param, weights_file)
    return NetworkFiles.of(network.name, param, weights_file)


@pytest.mark.parametrize(("version", "network"), PAIRS)
def test_every_tensor_but_gemms_is_what_ncnn2int8_wrote(
    goldens: Path, tmp_path: Path, version: str, network: str
) -> None:
    source = open_golden(goldens, version, network, "fp32")
    ours = quantize(source, golden_table(goldens, version, network), tmp_path)
    theirs = open_golden(goldens, version, network, "int8")
    assert list(ours.tensors) == list(theirs.tensors)
    for layer in theirs.layers.values():
        assert is_int8(layer) == is_int8(ours.layers[layer.name])
        expected = theirs.arrays(layer.name)
        actual = ours.arrays(layer.name)
        assert list(actual) == list(expected)
        for name, values in expected.items():
            if layer.type == "Gemm" and name in ("b", "b_scale"):
                continue
            assert actual[name].tobytes() == values.tobytes(), (layer.name, name)


@pytest.mark.parametrize(("version", "network"), PAIRS)
def test_with_the_tools_gemm_scale_the_whole_file_is_the_same(
    goldens: Path, tmp_path: Path, version: str, network: str
) -> None:
    source = open_golden(goldens, version, network, "fp32")
    theirs = open_golden(goldens, version, network, "int8")
    table = golden_table(goldens, version, network)
    gemms = {
        layer.name: {"_param_0": theirs.arrays(layer.name)["b_scale"]}
        for layer in theirs.param.of_type("Gemm")
    }
    quantize(source, ScaleTable({**table.weights, **gemms}, table.inputs), tmp_path)
    golden = goldens / "ncnn_int8" / version / f"{network}.int8.bin"
    assert (tmp_path / "int8.bin").read_bytes() == golden.read_bytes()


@pytest.mark.parametrize(("version", "network"), PAIRS)
def test_the_param_file_says_what_ncnn2int8s_says(
    goldens: Path, tmp_path: Path, version: str, network: str
) -> None:
    source = open_golden(goldens, version, network, "fp32")
    ours = quantize(source, golden_table(goldens, version, network), tmp_path).param
    theirs = open_golden(goldens, version, network, "int8").param
    assert (ours.declared_layers, ours.declared_blobs) == (
        theirs.declared_layers,
        theirs.declared_blobs,
    )
    for mine, golden in zip(ours.layers, theirs.layers, strict=True):
        assert (mine.type, mine.name, mine.inputs, mine.outputs) == (
            golden.type,
            golden.name,
            golden.inputs,
            golden.outputs,
        )
        # The tool leaves out values that are a layer's default; what it writes must be ours too.
        for parameter in golden.parameters:
            assert mine.get(parameter.id) == parameter.value, (mine.name, parameter)


@pytest.mark.parametrize(("version", "network"), PAIRS)
def test_scales_are_those_that_ncnn2table_wrote(goldens: Path, version: str, network: str) -> None:
    source = open_golden(goldens, version, network, "fp32")
    table = golden_table(goldens, version, network)
    for name, keys in table.weights.items():
        computed = weight_scales(source.layers[name], source.arrays(name))
        assert computed.keys() == keys.keys()
        for key, scales in keys.items():
            np.testing.assert_array_equal(
                [f"{scale:.6f}" for scale in computed[key]], [f"{scale:.6f}" for scale in scales]
            )


def write_pair(folder: Path, lines: str, data: bytes) -> NetworkFiles:
    layers = [line for line in lines.splitlines() if line.strip()]
    blobs = {blob for line in layers for blob in line.split()[4:] if "=" not in blob}
    text = f"7767517\n{len(layers)} {len(blobs)}\n" + "\n".join(layers) + "\n"
    (folder / "a.param").write_text(text)
    (folder / "a.bin").write_bytes(data)
    return NetworkFiles.of("joiner", folder / "a.param", folder / "a.bin")


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


FP32_TAG, FP16_TAG, INT8_TAG = (value.to_bytes(4, "little") for value in (0, 0x01306B47, 0xD4B38))


def test_an_inner_product_by_hand(tmp_path: Path) -> None:
    weights = (1.0, -2.0, 0.5, 0.0, 0.25, -0.125)
    source = write_pair(
        tmp_path,
        "Input in0 0 1 in0\nInnerProduct linear 1 1 in0 out0 0=2 1=1 2=6",
        FP32_TAG + floats(*weights) + floats(10.0, 20.0),
    )
    table = ScaleTable({"linear": {"_param_0": np.float32([63.5, 508.0])}}, {"linear": 25.4})
    write_network(source, table, ["linear"], tmp_path / "b.param", tmp_path / "b.bin")
    # 63.5 and 31.75 round away from zero; 6 bytes are padded to 8.
    rows = np.array([64, -127, 32, 0, 127, -64, 0, 0], np.int8).tobytes()
    expected = INT8_TAG + rows + floats(10.0, 20.0) + floats(63.5, 508.0) + floats(25.4)
    assert (tmp_path / "b.bin").read_bytes() == expected
    assert ParamFile.read(tmp_path / "b.param").layers[1].text().endswith("0=2 1=1 2=6 8=2")


def test_an_embedding_by_hand(tmp_path: Path) -> None:
    source = write_pair(
        tmp_path,
        "Input in0 0 1 in0\nEmbed embed 1 1 in0 out0 0=1 1=3 2=0 3=3",
        FP32_TAG + floats(2.0, -1.0, 0.01),
    )
    table = ScaleTable({"embed": {"_param_0": np.float32([63.5])}})
    write_network(source, table, ["embed"], tmp_path / "b.param", tmp_path / "b.bin")
    rows = np.array([127, -64, 1, 0], np.int8).tobytes()
    assert (tmp_path / "b.bin").read_bytes() == INT8_TAG + rows + floats(63.5)
    assert ParamFile.read(tmp_path / "b.param").layers[1].get(18) == 2


def test_a_depthwise_convolution_by_hand_has_a_scale_per_group(tmp_path: Path) -> None:
    source = write_pair(
        tmp_path,
        "Input in0 0 1 in0\n"
        "ConvolutionDepthWise conv 1 1 in0 out0 0=2 1=2 11=1 2=1 3=1 4=0 5=0 6=4 7=2",
        FP32_TAG + floats(1.0, -0.5, 4.0, 3.0),
    )
    scales = weight_scales(source.layers["conv"], source.arrays("conv"))
    np.testing.assert_array_equal(scales["_param_0"], np.float32([127, 31.75]))
    table = ScaleTable({"conv": scales}, {"conv": 2.0})
    write_network(source, table, ["conv"], tmp_path / "b.param", tmp_path / "b.bin")
    rows = np.array([127, -64, 127, 95], np.int8).tobytes()
    expected = INT8_TAG + rows + floats(127, 31.75) + floats(2.0)
    assert (tmp_path / "b.bin").read_bytes() == expected
    assert ParamFile.read(tmp_path / "b.param").layers[1].get(8) == 1


def test_what_is_not_quantized_becomes_fp16_unless_it_would_overflow(tmp_path: Path) -> None:
    lines = (
        "Input in0 0 1 in0\n"
        "InnerProduct small 1 1 in0 1 0=1 1=1 2=3\n"
        "InnerProduct large 1 1 1 out0 0=1 1=0 2=1"
    )
    data = FP32_TAG + floats(1.0, 0.5, 3.0) + floats(7.0) + FP32_TAG + floats(1e5)
    source = write_pair(tmp_path, lines, data)
    write_network(source, ScaleTable(), [], tmp_path / "b.param", tmp_path / "b.bin")
    half = np.array([1.0, 0.5, 3.0, 0.0], "<f2").tobytes()
    expected = FP16_TAG + half + floats(7.0) + FP32_TAG + floats(1e5)
    assert (tmp_path / "b.bin").read_bytes() == expected


def test_an_fp16_source_gives_the_int8_of_its_rounded_weights(
    goldens: Path, tmp_path: Path
) -> None:
    version = "pnnx-20261020"
    source = open_golden(goldens, version, "encoder", "fp16")
    ours = quantize(source, golden_table(goldens, version, "encoder"), tmp_path)
    rounded = source.arrays("lstm_16")["weight_ih"].astype(np.float32)
    scales = ours.arrays("lstm_16")["weight_ih_scale"]
    steps = rounded * scales[..., np.newaxis]
    stored = ours.arrays("lstm_16")["weight_ih"]
    np.testing.assert_array_less(np.abs(np.clip(steps, -127, 127) - stored), 0.5001)


def run_gemm(pair: NetworkFiles, x: np.ndarray) -> np.ndarray:
    net = ncnn.Net()
    folder = Path(pair.param.path)
    assert net.load_param(str(folder)) == 0
    assert net.load_model(str(folder.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(x))
    return np.array(extractor.extract("out0")[1])


def test_rows_of_unequal_size_survive_in_a_gemm_where_the_tools_scale_loses_them(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(16, 64)).astype(np.float32)
    weights[0] *= 0.01  # the tool measures this row and saturates all others
    x = rng.normal(size=(5, 64)).astype(np.float32)
    (tmp_path / "ours").mkdir()
    (tmp_path / "tool").mkdir()
    source = write_pair(
        tmp_path,
        "Input in0 0 1 in0\nGemm gemm 1 1 in0 out0 10=4 2=0 3=1 4=0 5=1 6=1 7=0 8=16 9=64",
        FP32_TAG + weights.tobytes() + FP32_TAG + floats(*[0.0] * 16),
    )
    first_row = ScaleTable({"gemm": {"_param_0": np.float32([127 / np.abs(weights[0]).max()])}})
    expected = x @ weights.T

    def error(table: ScaleTable, folder: Path) -> float:
        difference = run_gemm(quantize(source, table, folder), x) - expected
        return float(np.linalg.norm(difference) / np.linalg.norm(expected))

    assert error(ScaleTable(), tmp_path / "ours") < 0.02
    assert error(first_row, tmp_path / "tool") > 0.9


def test_the_golden_gemm_scales_show_the_tools_first_row_bug(goldens: Path) -> None:
    source = open_golden(goldens, "pnnx-20261020", "encoder", "fp32")
    theirs = open_golden(goldens, "pnnx-20261020", "encoder", "int8")
    wrong = 0
    for layer in source.param.of_type("Gemm"):
        weights = source.arrays(layer.name)["b"]
        theirs_scale = theirs.arrays(layer.name)["b_scale"][0]
        assert theirs_scale == pytest.approx(127 / np.abs(weights[0]).max(), rel=1e-6)
        ours = weight_scales(layer, source.arrays(layer.name))["_param_0"]
        assert ours[0] == np.float32(127) / np.abs(weights).max()
        wrong += not np.isclose(ours[0], theirs_scale)
    assert wrong > 0
