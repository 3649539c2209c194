from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError
from calve_ncnn.param import Layer, Parameter, ParamFile
from calve_ncnn.weights import read_tensors, read_weights, tensor_specs

# An operator that ncnn does not have stays in the decoders of the 2024 conversions.
READABLE = [
    f"pnnx-{version}/{network}.{precision}"
    for version in ("20240819", "20250930", "20260526", "20261020")
    for network in ("encoder", "decoder", "joiner")
    for precision in ("fp32", "fp16", "int8")
    if (version, network) != ("20240819", "decoder")
]


def load(goldens: Path, stem: str) -> tuple[ParamFile, np.ndarray, Path]:
    path = goldens / "ncnn_int8" / stem
    bin_path = path.with_name(path.name + ".bin")
    return ParamFile.read(path.with_name(path.name + ".param")), read_weights(bin_path), bin_path


def arrays(goldens: Path, stem: str) -> dict[tuple[str, str], np.ndarray]:
    param, data, path = load(goldens, stem)
    return {(t.layer, t.name): t.array(data) for t in read_tensors(param, data, path)}


@pytest.mark.parametrize("stem", READABLE)
def test_the_layout_accounts_for_every_byte(goldens: Path, stem: str) -> None:
    param, data, path = load(goldens, stem)
    tensors = read_tensors(param, data, path)
    assert tensors
    last = tensors[-1]
    assert 0 <= data.size - (last.offset + last.nbytes) < 4


@pytest.mark.parametrize("network", ["encoder", "decoder", "joiner"])
def test_fp16_files_hold_the_fp32_values_to_half_a_unit_in_the_last_place(
    goldens: Path, network: str
) -> None:
    full = arrays(goldens, f"pnnx-20261020/{network}.fp32")
    half = arrays(goldens, f"pnnx-20261020/{network}.fp16")
    assert full.keys() == half.keys()
    assert any(values.dtype == np.float16 for values in half.values())
    for key, values in half.items():
        # pnnx rounds ties upwards and flushes what fp16 can only hold as a subnormal.
        half_unit = 2.0**-11 if values.dtype == np.float16 else 0.0
        subnormal = np.finfo(np.float16).smallest_normal if half_unit else 0.0
        error = np.abs(values.astype(np.float64) - full[key])
        assert np.all(error <= np.maximum(half_unit * np.abs(full[key]), subnormal)), key


def test_int8_weights_divided_by_their_own_scales_are_the_fp32_weights(goldens: Path) -> None:
    full = arrays(goldens, "pnnx-20261020/encoder.fp32")
    int8 = arrays(goldens, "pnnx-20261020/encoder.int8")
    pairs = [
        ("lstm_16", "weight_ih", "weight_ih_scale"),
        ("lstm_16", "weight_hh", "weight_hh_scale"),
        ("conv_15", "weight", "weight_scale"),
    ]
    for layer, weight, scale in pairs:
        scales = int8[layer, scale].reshape(-1, 1)
        expected = full[layer, weight].reshape(scales.size, -1)
        restored = int8[layer, weight].reshape(scales.size, -1) / scales
        assert np.all(np.abs(restored - expected) <= 0.5 / scales + 1e-6), (layer, weight)


def test_the_int8_table_names_the_same_scales(goldens: Path) -> None:
    int8 = arrays(goldens, "pnnx-20261020/encoder.int8")
    text = (goldens / "ncnn_int8/pnnx-20261020/encoder.table").read_text()
    rows = (line.split() for line in text.splitlines())
    table = {key: np.array(values, np.float32) for key, *values in rows}
    for layer in ("lstm_16", "lstm_17", "lstm_18"):
        for key, name in (("_param_0", "weight_ih_scale"), ("_param_1", "weight_hh_scale")):
            np.testing.assert_allclose(int8[layer, name].ravel(), table[layer + key], rtol=1e-5)


def test_a_truncated_bin_is_an_error_naming_file_and_tensor(goldens: Path, tmp_path: Path) -> None:
    param, data, _ = load(goldens, "pnnx-20261020/joiner.fp16")
    short = tmp_path / "joiner.bin"
    short.write_bytes(data.tobytes()[:-200])
    with pytest.raises(BundleError, match=r"inside weight of linear_3") as caught:
        read_tensors(param, read_weights(short), short)
    assert caught.value.where == str(short)


def test_trailing_bytes_are_an_error(goldens: Path) -> None:
    param, data, path = load(goldens, "pnnx-20261020/joiner.fp16")
    longer = np.append(data, np.zeros(4, np.uint8))
    with pytest.raises(BundleError, match=f"hold {data.size + 4} bytes, the network reads"):
        read_tensors(param, longer, path)


def test_weights_of_another_network_are_an_error(goldens: Path) -> None:
    param, _, _ = load(goldens, "pnnx-20261020/encoder.fp16")
    _, data, path = load(goldens, "pnnx-20261020/joiner.fp16")
    with pytest.raises(BundleError):
        read_tensors(param, data, path)


def test_a_missing_bin_is_an_error_naming_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_weights(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("Tensor.to", {}, "layout of ncnn's Tensor.to is not known"),
        ("InnerProduct", {0: 0, 2: 4}, "impossible parameters"),
        ("InnerProduct", {0: 8, 2: 4}, "without elements"),
        ("InnerProduct", {0: 1.5, 2: 4}, "not an integer"),
        ("Gemm", {5: 1, 6: 1, 8: 2, 9: 2, 10: 7}, "unknown way 7"),
    ],
)
def test_impossible_layers_are_errors(
    kind: str, parameters: dict[int, int | float], message: str
) -> None:
    values = tuple(Parameter.of(key, value) for key, value in parameters.items())
    with pytest.raises(BundleError, match=message):
        tensor_specs(Layer(kind, "layer_0", ("in0",), ("out0",), values))
