from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.api import BundleError
from calve_ncnn.param import Layer, ParamError, Parameter, ParamFile

TINY = """7767517
3 3
Input                    in0                      0 1 in0
Gemm                     gemm_0                   1 1 in0 1 10=4 -23303=2,1,0 2=2.500000e-01
Reshape                  reshape_0                1 1 1 out0 6="512, 0c"
"""


def golden_params(goldens: Path) -> list[Path]:
    paths = sorted((goldens / "ncnn_int8").glob("pnnx-*/*.param"))
    assert len(paths) == 36
    return paths


def test_every_param_of_pnnx_and_ncnn2int8_survives_byte_for_byte(goldens: Path) -> None:
    for path in golden_params(goldens):
        assert ParamFile.read(path).text().encode() == path.read_bytes(), path


def test_recounting_a_good_file_changes_nothing(goldens: Path) -> None:
    for path in golden_params(goldens):
        param = ParamFile.read(path)
        assert param.with_layers(param.layers) == param, path


def test_values_are_typed() -> None:
    param = ParamFile.parse(TINY)
    gemm, reshape = param.layers[1:]
    assert gemm.get(10) == 4
    assert gemm.get(3) == (1, 0)
    assert gemm.get(2) == 0.25
    assert gemm.get(7) is None
    assert gemm.get(7, 1) == 1
    assert reshape.get(6) == "512, 0c"
    assert gemm.line == 4


def test_names_of_inputs_and_outputs() -> None:
    param = ParamFile.parse(TINY)
    assert param.input_names == ("in0",)
    assert param.output_names == ("out0",)


def test_a_changed_parameter_keeps_its_place_and_a_new_one_is_appended() -> None:
    layer = ParamFile.parse(TINY).layers[1].with_parameter(10, -1).with_parameter(18, 2)
    assert layer.text().endswith(" 1 1 in0 1 10=-1 -23303=2,1,0 2=2.500000e-01 18=2")


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", "magic", 1),
        ("7767518\n1 1\n", "magic", 1),
        ("7767517\n", "header", 2),
        ("7767517\n3\n", "header", 2),
        (TINY + "ReLU relu_0\n", "layer-syntax", 6),
        (TINY + "ReLU relu_0 1 1 out0\n", "layer-syntax", 6),
        (TINY + "ReLU relu_0 1 1 out0 out1 slope\n", "layer-syntax", 6),
        (TINY + "ReLU relu_0 1 1 out0 out1 0=1.2.3\n", "layer-syntax", 6),
        (TINY + "ReLU relu_0 1 1 out0 out1 -23300=3,1,2\n", "layer-syntax", 6),
        (TINY + 'ReLU relu_0 1 1 out0 out1 6="0w\n', "layer-syntax", 6),
    ],
)
def test_a_broken_file_is_an_error_naming_file_and_line(
    tmp_path: Path, text: str, code: str, line: int
) -> None:
    path = tmp_path / "net.param"
    path.write_text(text)
    with pytest.raises(ParamError) as caught:
        ParamFile.read(path)
    assert caught.value.code == code
    assert caught.value.where == f"{path}:{line}"


def test_a_binary_param_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "net.param"
    path.write_bytes(b"\xdd\x85\x76\x00\xff\xfe")
    with pytest.raises(ParamError, match="binary param"):
        ParamFile.read(path)


def test_wrong_header_counts_are_kept_for_lint_to_find() -> None:
    param = ParamFile.parse(TINY.replace("3 3", "2 9", 1))
    assert (param.declared_layers, param.declared_blobs) == (2, 9)
    assert param.with_layers(param.layers).declared_blobs == 3


numbers = st.integers(-(2**31), 2**31 - 1) | st.floats(
    allow_nan=False, allow_infinity=False, width=32
)
texts = st.text(st.characters(codec="ascii", exclude_characters='"', exclude_categories=["C"]))
values = numbers | texts | st.lists(numbers, max_size=6).map(tuple)
words = st.text(st.sampled_from("abcXYZ019_./-"), min_size=1, max_size=30)


@given(st.integers(0, 31), values)
def test_a_parameter_reads_back_as_it_was_written(identifier: int, value: object) -> None:
    parameter = Parameter.of(identifier, value)  # type: ignore[arg-type]
    again = Parameter.parse(parameter.spelling)
    assert again == parameter
    assert type(again.value) is type(parameter.value)


layers = st.builds(
    Layer,
    type=words,
    name=words,
    inputs=st.lists(words, max_size=4).map(tuple),
    outputs=st.lists(words, max_size=4).map(tuple),
    parameters=st.lists(st.builds(Parameter.of, st.integers(0, 31), values), max_size=5).map(tuple),
)


@given(st.lists(layers, max_size=8))
def test_any_network_survives_writing_and_reading(network: list[Layer]) -> None:
    param = ParamFile.of(network)
    again = ParamFile.parse(param.text())
    assert again == param
    assert again.text() == param.text()


@given(st.text())
def test_any_text_is_read_or_refused_with_a_param_error(text: str) -> None:
    with suppress(ParamError):
        param = ParamFile.parse("7767517\n1 1\n" + text)
        assert ParamFile.parse(param.text()) == param


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("0=2147483648", "no integer of 32 bits"),
        ("0=-2147483649", "no integer of 32 bits"),
        ("0=" + "9" * 5000, "no integer of 32 bits"),
        ("9" * 5000 + "=1", "no integer of 32 bits"),
        ("0=-inf", "not a finite number"),
        ("-23300=1,nan", "not a finite number"),
        ("0=1e999", "not a finite number"),
        ("32=1", "no parameter's number"),
        ("-1=1", "no parameter's number"),
        ("-23332=1,0", "no parameter's number"),
        ("-23300=" + "9" * 5000 + ",1", "has 1 items"),
        ("-23300=2,1", "has 1 items"),
    ],
)
def test_what_ncnn_cannot_hold_is_refused_with_the_line(parameter: str, message: str) -> None:
    with pytest.raises(ParamError, match=message) as caught:
        ParamFile.parse(f"7767517\n1 1\nInput in0 0 1 in0 {parameter}\n")
    assert caught.value.code == "layer-syntax"
    assert (caught.value.where or "").endswith(":3")
    assert len(caught.value.what) < 200


@pytest.mark.parametrize("parameter", ["0=2147483647", "0=-2147483648", "31=1", "-23331=1,0"])
def test_the_largest_of_what_ncnn_can_hold_is_read(parameter: str) -> None:
    param = ParamFile.parse(f"7767517\n1 1\nInput in0 0 1 in0 {parameter}\n")
    assert param.layers[0].parameters[0].spelling == parameter


@pytest.mark.parametrize(
    "line",
    ["T" * 256 + " a 0 1 b", "T " + "a" * 256 + " 0 1 b", "T a 0 1 " + "é" * 128],
)
def test_names_that_are_too_long_for_ncnn_are_refused(line: str) -> None:
    with pytest.raises(ParamError, match="more than 255 bytes") as caught:
        ParamFile.parse(f"7767517\n1 1\n{line}\n")
    assert len(caught.value.what) < 200


@pytest.mark.parametrize("counts", ["1" * 5000 + " 1", "1 -1", "1 1e3", "1 \u0663"])
def test_impossible_counts_in_the_header_are_refused(counts: str) -> None:
    with pytest.raises(ParamError, match="layer-count blob-count"):
        ParamFile.parse(f"7767517\n{counts}\nInput in0 0 1 in0\n")


def test_a_file_that_is_too_large_for_a_description_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.param"
    with path.open("wb") as file:
        file.write(b"7767517\n")
        file.truncate(8 * 2**30)
    with pytest.raises(BundleError, match="more than 67108864 bytes"):
        ParamFile.read(path)
