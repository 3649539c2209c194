"""From a bundle to a quantized one, through the registry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calve.api import BundleError, ConfigError, DataError, PluginError
from calve.bundles.bundle import Bundle
from calve.bundles.golden import Golden
from calve.common.files import file_sha256
from calve.exporting.quantization import REPORT_FILE, quantize
from calve.exporting.verification import verify

DEMO = Path(__file__).parents[3] / "plugins" / "calve_transducer" / "digits" / "recordings"


@pytest.fixture(scope="module")
def int8_bundle(golden_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("int8") / "bundle"
    quantize(golden_bundle.path, output=output)
    return Bundle.open(output)


def test_the_result_is_a_bundle_that_verifies_with_the_real_client_too(
    int8_bundle: Bundle,
) -> None:
    checks = {check.name: check for check in verify(int8_bundle.path)}
    assert list(checks) == ["files", "lint", "features", "golden", "sherpa-ncnn"]
    assert {check.outcome for check in checks.values()} == {"passed"}, checks


def test_the_manifest_says_what_is_int8_and_what_it_was_made_from(
    golden_bundle: Bundle, int8_bundle: Bundle
) -> None:
    manifest = int8_bundle.manifest
    assert set(manifest.precision.values()) == {"int8"}
    assert manifest.geometry == golden_bundle.manifest.geometry
    origin = manifest.provenance["quantization"]
    assert origin["source_manifest_sha256"] == file_sha256(golden_bundle.path / "bundle.json")
    assert origin["source_precision"] == golden_bundle.manifest.precision
    precision = manifest.steps["layer_precision"]["encoder"]
    kinds = {name.split("_")[0]: value for name, value in precision.items()}
    assert kinds == {"conv": "fp16", "gemm": "int8", "lstm": "int8"}
    assert {REPORT_FILE, "quantization.html", "encoder-scale-table.txt"} <= set(manifest.files)


def test_golden_numbers_are_those_of_the_quantized_networks(
    golden_bundle: Bundle, int8_bundle: Bundle
) -> None:
    source, result = (Golden.read(one.path / "golden.npz") for one in (golden_bundle, int8_bundle))
    np.testing.assert_array_equal(source.pcm, result.pcm)
    expected = source.observation.outputs["encoder_out"]
    error = result.observation.outputs["encoder_out"] - expected
    report = json.loads((int8_bundle.path / REPORT_FILE).read_text())
    relative = np.linalg.norm(error) / np.linalg.norm(expected)
    assert 0.001 < relative < 0.05
    assert report["output_error"] == pytest.approx(relative, rel=1e-3)


def test_the_report_accounts_for_every_byte(golden_bundle: Bundle, int8_bundle: Bundle) -> None:
    report = json.loads((int8_bundle.path / REPORT_FILE).read_text())
    for bundle, key in ((golden_bundle, "bytes_before"), (int8_bundle, "bytes_after")):
        for network in ("encoder", "decoder", "joiner"):
            size = (bundle.path / f"{network}_jit_trace-pnnx.ncnn.bin").stat().st_size
            assert size == sum(
                layer[key] for layer in report["layers"] if layer["network"] == network
            )
    total = sum(layer["parameters"] for layer in report["layers"])
    # The simple projections of training are not exported.
    assert total <= golden_bundle.manifest.parameters["total"]
    assert all(layer["reason"] for layer in report["layers"])


def test_its_own_tables_give_the_same_networks(
    golden_bundle: Bundle, int8_bundle: Bundle, tmp_path: Path
) -> None:
    tables = [str(path) for path in sorted(int8_bundle.path.glob("*-scale-table.txt"))]
    assert len(tables) == 3
    report = quantize(golden_bundle.path, output=tmp_path / "again", table=tables)
    assert report.calibration.source == "table"
    for name, record in int8_bundle.manifest.files.items():
        if name.endswith((".bin", ".param", "-scale-table.txt")):
            assert record.sha256 == file_sha256(tmp_path / "again" / name), name


def test_tables_like_those_of_sherpa_ncnns_tool_are_enough(
    golden_bundle: Bundle, tmp_path: Path
) -> None:
    """They name convolutions and linear layers, for encoder and joiner, and know no LSTM."""
    everything = ("LSTM", "Gemm", "InnerProduct", "Embed", "Convolution")
    quantize(
        golden_bundle.path,
        output=tmp_path / "all",
        calibration=(DEMO / "flite-kal.wav",),
        layer_types=everything,
    )
    tables = []
    for network in ("encoder", "joiner"):
        lines = (tmp_path / "all" / f"{network}-scale-table.txt").read_text().splitlines()
        known = [line for line in lines if not line.startswith(("lstm", "gemm"))]
        tables.append(str(tmp_path / f"{network}-table.txt"))
        Path(tables[-1]).write_text("\n".join(known))
    quantize(golden_bundle.path, output=tmp_path / "again", table=tables)
    for network in ("encoder", "decoder", "joiner"):
        name = f"{network}_jit_trace-pnnx.ncnn.bin"
        assert file_sha256(tmp_path / "again" / name) == file_sha256(tmp_path / "all" / name)


def test_layers_that_shall_stay_stay(golden_bundle: Bundle, tmp_path: Path) -> None:
    names = [one["layer"] for one in _layers(golden_bundle, tmp_path / "all")]
    lstm = next(name for name in names if name.startswith("lstm"))
    kept = _layers(golden_bundle, tmp_path / "kept", keep_fp16=(lstm,))
    by_name = {one["layer"]: one for one in kept}
    assert by_name[lstm]["precision"] == "fp16"
    assert by_name[lstm]["reason"] == "kept by --keep-fp16"
    others = [one for one in kept if one["type"] == "LSTM" and one["layer"] != lstm]
    assert {one["precision"] for one in others} == {"int8"}


def _layers(source: Bundle, output: Path, **options: object) -> list[dict[str, object]]:
    return quantize(source.path, output=output, **options).to_json()["layers"]


def test_weights_only_needs_no_range(golden_bundle: Bundle, tmp_path: Path) -> None:
    report = quantize(
        golden_bundle.path, output=tmp_path / "out", layer_types=("LSTM", "Gemm", "Embed")
    )
    assert report.calibration.source == "none"
    assert report.precision == {"encoder": "int8", "decoder": "int8", "joiner": "fp16"}
    assert not report.activations


def test_static_convolutions_are_quantized_if_wanted(golden_bundle: Bundle, tmp_path: Path) -> None:
    report = quantize(
        golden_bundle.path,
        output=tmp_path / "out",
        calibration=(DEMO,),
        layer_types=("LSTM", "Gemm", "InnerProduct", "Embed", "Convolution"),
        method="kl",
    )
    precision = {one.layer: one.precision for one in report.layers if one.type == "Convolution"}
    assert set(precision.values()) == {"int8"}
    assert precision.keys() <= {one.layer for one in report.activations}
    checks = {check.name: check.outcome for check in verify(tmp_path / "out")}
    assert checks["golden"] == checks["lint"] == "passed"


def test_an_evaluation_compares_fp32_fp16_and_int8(golden_bundle: Bundle, tmp_path: Path) -> None:
    report = quantize(golden_bundle.path, output=tmp_path / "out", evaluation=(DEMO,))
    assert report.measure == "WER"
    assert [one.name for one in report.variants] == ["fp32", "fp16", "int8"]
    sizes = [one.size for one in report.variants]
    assert sizes == sorted(sizes, reverse=True)
    int8 = [one for one in report.layers if one.precision == "int8"]
    assert all(one.output_error is not None and one.output_error > 0 for one in int8)
    page = (tmp_path / "out" / "quantization.html").read_text()
    assert all(f">{one.layer}<" in page for one in report.layers)
    assert page.count("<svg") == 1 + len(report.activations)


def test_a_result_that_passes_the_gate_at_once_keeps_every_layer(
    golden_bundle: Bundle, tmp_path: Path
) -> None:
    recording = sorted(DEMO.glob("*.wav"))[0]
    report = quantize(
        golden_bundle.path, output=tmp_path / "out", evaluation=(recording,), max_wer_increase=50.0
    )
    assert report.frontier == report.variants[-1:]
    assert report.variants[-1].kept == ()
    assert not any("gate" in one.reason for one in report.layers)


def test_an_int8_bundle_is_refused(int8_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the bundle is int8 already") as caught:
        quantize(int8_bundle.path, output=tmp_path / "out")
    assert "fp32 or fp16" in (caught.value.fix or "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"scheme": "int3"}, PluginError, "no quantizer"),
        ({"method": "guess"}, ConfigError, "not one of minmax, kl"),
        ({"layer_types": ("MatMul",)}, ConfigError, "no int8 mode"),
        ({"layer_types": ()}, ConfigError, "no layer is left"),
        ({"keep_fp16": ("nothing",)}, ConfigError, "no network has a layer nothing"),
        ({"calibration": ("nowhere",)}, DataError, "does not exist"),
        ({"table": ("nowhere",)}, DataError, "there is no such scale table"),
        ({"evaluation": ("nowhere",)}, DataError, "does not exist"),
        ({"calibration": (".",), "table": ("t",)}, ConfigError, "a table replaces calibration"),
        ({"max_wer_increase": 1.0}, ConfigError, "nothing to measure"),
        (
            {"max_wer_increase": -1.0, "evaluation": (".",)},
            ConfigError,
            "must be from 0 to 1000",
        ),
        ({"speed": 3}, ConfigError, "no option 'speed'"),
    ],
)
def test_a_mistake_is_explained_and_leaves_nothing(
    golden_bundle: Bundle, tmp_path: Path, options: dict, error: type[Exception], what: str
) -> None:
    with pytest.raises(error, match=what):
        quantize(golden_bundle.path, output=tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_a_damaged_source_is_refused(bundle_dir: Path, tmp_path: Path) -> None:
    weights = bundle_dir / "encoder_jit_trace-pnnx.ncnn.bin"
    data = bytearray(weights.read_bytes())
    data[1000] ^= 255
    weights.write_bytes(data)
    with pytest.raises(BundleError, match="changed since the export"):
        quantize(bundle_dir, output=tmp_path / "out")


def test_an_existing_output_is_kept(golden_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ConfigError, match="exists already"):
        quantize(golden_bundle.path, output=tmp_path / "out")
    assert (tmp_path / "out" / "mine").exists()
    quantize(golden_bundle.path, output=tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "mine").exists()


def test_a_link_to_itself_is_no_output(golden_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="the output exists already"):
        quantize(golden_bundle.path, output=tmp_path / "loop")


def test_a_bundle_is_not_written_onto_itself(bundle_dir: Path) -> None:
    with pytest.raises(ConfigError, match="the output is the bundle itself"):
        quantize(bundle_dir, output=bundle_dir, overwrite=True)
