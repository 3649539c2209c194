from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, ConfigError, DataError
from calve_ncnn.int8.layers import as_int8, int8_weights
from calve_ncnn.int8.plan import NetworkPlan, assign_tables, make_plans, resolve_kept
from calve_ncnn.int8.quantize import NetworkFiles
from calve_ncnn.int8.scales import weight_scales
from calve_ncnn.int8.table import ScaleTable

TYPES = ("LSTM", "Gemm", "InnerProduct", "Embed")
Tables = Callable[..., dict[str, ScaleTable]]


def plans_by_network(networks: list[NetworkFiles], **options: object) -> dict[str, NetworkPlan]:
    arguments = {"layer_types": TYPES, "kept": (), "tables": {}} | options
    return {plan.network.name: plan for plan in make_plans(networks, **arguments)}


def first(networks: list[NetworkFiles], network: str, layer_type: str) -> str:
    files = next(one for one in networks if one.name == network)
    return files.param.of_type(layer_type)[0].name


@pytest.fixture
def joiner_table(networks: list[NetworkFiles]) -> ScaleTable:
    joiner = next(one for one in networks if one.name == "joiner")
    weights = {n: weight_scales(layer, joiner.arrays(n)) for n, layer in joiner.layers.items()}
    return ScaleTable(weights, dict.fromkeys(weights, 50.0))


def test_every_layer_has_a_scale_or_a_reason(networks: list[NetworkFiles]) -> None:
    plans = plans_by_network(networks)
    for plan in plans.values():
        for name, layer in plan.network.layers.items():
            assert (name in plan.int8) != (name in plan.reasons)
            if name in plan.int8:
                assert [w.key for w in int8_weights(layer)] == list(plan.table.weights[name])
    reasons = plans["encoder"].reasons | plans["decoder"].reasons
    assert reasons[first(networks, "encoder", "Convolution")].endswith("not among --layer-types")
    depthwise = first(networks, "decoder", "ConvolutionDepthWise1D")
    assert reasons[depthwise] == "ncnn has no int8 mode for this ConvolutionDepthWise1D"
    assert set(plans["joiner"].watched.values()) >= {"in0", "in1"}
    assert not plans["encoder"].watched


def test_a_type_that_has_no_int8_mode_is_refused(networks: list[NetworkFiles]) -> None:
    with pytest.raises(ConfigError, match="no int8 mode for layers of type MatMul") as caught:
        plans_by_network(networks, layer_types=("LSTM", "MatMul"))
    assert "Gemm" in (caught.value.fix or "")


def test_a_layer_that_is_int8_already_is_refused(networks: list[NetworkFiles]) -> None:
    encoder = networks[0]
    layers = [as_int8(one) if one.type == "LSTM" else one for one in encoder.param.layers]
    done = NetworkFiles("encoder", encoder.param.with_layers(layers), encoder.data, encoder.tensors)
    with pytest.raises(BundleError, match="of the encoder is int8 already"):
        plans_by_network([done])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(bundle_dir: Path, value: float) -> None:
    name = first([NetworkFiles.open(bundle_dir, "encoder")], "encoder", "LSTM")
    encoder = NetworkFiles.open(bundle_dir, "encoder")
    data = np.array(encoder.data)
    offset = encoder.tensors[name]["weight_hh"].offset
    data[offset : offset + 4] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
    broken = replace(encoder, data=data)
    with pytest.raises(BundleError, match=f"{name} of the encoder has weights that are NaN"):
        plans_by_network([broken])


def test_kept_layers_are_named_with_or_without_their_network(
    networks: list[NetworkFiles],
) -> None:
    lstm, linear = first(networks, "encoder", "LSTM"), first(networks, "joiner", "InnerProduct")
    kept = resolve_kept([lstm, f"joiner/{linear}"], networks)
    assert kept == {("encoder", lstm), ("joiner", linear)}
    plans = plans_by_network(networks, kept=kept)
    assert plans["encoder"].reasons[lstm] == "kept by --keep-fp16"
    assert lstm not in plans["encoder"].table.weights


def test_an_unknown_kept_layer_is_refused_with_the_known_ones(
    networks: list[NetworkFiles],
) -> None:
    with pytest.raises(ConfigError, match="no network has a layer lstm_x") as caught:
        resolve_kept(["lstm_x"], networks)
    assert f"encoder/{first(networks, 'encoder', 'LSTM')}" in (caught.value.fix or "")


def test_a_kept_name_that_two_networks_share_is_refused(networks: list[NetworkFiles]) -> None:
    twins = [networks[0], replace(networks[0], name="other")]
    name = first(networks, "encoder", "LSTM")
    with pytest.raises(ConfigError, match=f"several networks have a layer {name}"):
        resolve_kept([name], twins)


def test_a_table_quantizes_what_it_names_whatever_the_type(networks: list[NetworkFiles]) -> None:
    conv = first(networks, "encoder", "Convolution")
    encoder = networks[0]
    weights = {conv: weight_scales(encoder.layers[conv], encoder.arrays(conv))}
    plans = plans_by_network(networks, tables={"encoder": ScaleTable(weights, {conv: 3.0})})
    assert conv in plans["encoder"].int8
    assert plans["encoder"].table.inputs == {conv: 3.0}


def test_a_table_without_lstm_lines_still_gives_int8_lstms(networks: list[NetworkFiles]) -> None:
    """Tables of sherpa-ncnn's tool have none, and ncnn2int8 then leaves every LSTM as it is."""
    plan = plans_by_network(networks, tables={"encoder": ScaleTable()})["encoder"]
    assert {one.name for one in plan.network.param.of_type("LSTM")} <= set(plan.int8)


def test_a_tables_own_weight_scales_are_used(
    networks: list[NetworkFiles], joiner_table: ScaleTable
) -> None:
    name = first(networks, "joiner", "InnerProduct")
    halved = joiner_table.weights[name]["_param_0"] / 2
    weights = {**joiner_table.weights, name: {"_param_0": halved}}
    plan = plans_by_network(networks, tables={"joiner": replace(joiner_table, weights=weights)})
    np.testing.assert_array_equal(plan["joiner"].table.weights[name]["_param_0"], halved)


def test_a_layer_that_the_table_leaves_out_is_an_error_with_the_way_out(
    networks: list[NetworkFiles], joiner_table: ScaleTable
) -> None:
    name, *rest = joiner_table.inputs
    partial = replace(joiner_table, inputs=dict.fromkeys(rest, 50.0))
    with pytest.raises(DataError, match=f"no input scale for {name} of the joiner") as caught:
        plans_by_network(networks, tables={"joiner": partial})
    assert f"--keep-fp16 {name}" in (caught.value.fix or "")


def test_a_wrong_number_of_scales_is_an_error(
    networks: list[NetworkFiles], joiner_table: ScaleTable
) -> None:
    name = first(networks, "joiner", "InnerProduct")
    short = {**joiner_table.weights, name: {"_param_0": np.ones(3, np.float32)}}
    with pytest.raises(DataError, match=f"{name}_param_0 has 3 scales, the layer needs 32"):
        plans_by_network(networks, tables={"joiner": replace(joiner_table, weights=short)})


def test_a_weight_that_the_layer_does_not_have_is_an_error(
    networks: list[NetworkFiles], joiner_table: ScaleTable
) -> None:
    name = first(networks, "joiner", "InnerProduct")
    extra = {**joiner_table.weights[name], "_param_1": np.ones(32, np.float32)}
    table = replace(joiner_table, weights={**joiner_table.weights, name: extra})
    with pytest.raises(DataError, match="has no weight param_1"):
        plans_by_network(networks, tables={"joiner": table})


def test_tables_find_their_network_by_their_layers(
    networks: list[NetworkFiles], joiner_table: ScaleTable, tmp_path: Path
) -> None:
    joiner_table.write(tmp_path / "some.txt")
    assert list(assign_tables([tmp_path / "some.txt"], networks)) == ["joiner"]


def test_a_table_that_fits_several_networks_is_told_by_its_name(
    networks: list[NetworkFiles], tmp_path: Path
) -> None:
    (tmp_path / "decoder-scale-table.txt").touch()
    assert list(assign_tables([tmp_path / "decoder-scale-table.txt"], networks)) == ["decoder"]
    (tmp_path / "scales.txt").touch()
    with pytest.raises(DataError, match="fits the encoder and the decoder and the joiner"):
        assign_tables([tmp_path / "scales.txt"], networks)


def test_a_table_of_another_model_is_an_error_naming_its_layers(
    networks: list[NetworkFiles], tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_text("lstm_999_param_0 1 2 3\n")
    with pytest.raises(DataError, match=r"layers that the .* does not have: lstm_999"):
        assign_tables([tmp_path / "t.txt"], networks)


def test_two_tables_for_one_network_are_an_error(
    networks: list[NetworkFiles], joiner_table: ScaleTable, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        joiner_table.write(path)
    with pytest.raises(DataError, match="two tables for the joiner"):
        assign_tables(paths, networks)
