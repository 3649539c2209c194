"""Opening bundles, good and damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calve.bundles.bundle import Bundle, read_manifest, write_manifest
from calve.bundles.trial import open_session
from calve.data.tokens import SymbolTable
from calve.errors import BundleError, PluginError, TokensError
from calve.protocols.bundles import FORMAT_VERSION, BundleManifest


def edit(bundle_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle_dir / "bundle.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_written_is_read_back(golden_bundle: Bundle, tmp_path: Path):
    manifest = replace(golden_bundle.manifest, files={})
    write_manifest(tmp_path, manifest)
    assert Bundle.open(tmp_path).manifest == manifest


def test_the_manifest_says_what_the_bundle_is(golden_bundle: Bundle):
    manifest = golden_bundle.manifest
    assert (manifest.recipe, manifest.format) == ("lstm_transducer_stateless2", "ncnn")
    assert (manifest.blank_id, manifest.unk_id, manifest.context_size) == (0, 2, 2)
    assert manifest.vocab_size == len(golden_bundle.symbols) == 30
    assert (manifest.geometry.segment, manifest.geometry.shift) == (9, 4)
    assert manifest.tail_padding_frames == 40
    assert golden_bundle.tail_seconds == pytest.approx(0.4)
    assert manifest.precision == {"encoder": "fp32", "decoder": "fp32", "joiner": "fp32"}
    assert manifest.parameters["total"] == 172494
    assert len(manifest.provenance["files"][0]["sha256"]) == 64
    assert {"calve", "torch", "pnnx", "ncnn"} <= set(manifest.tools)
    assert manifest.parity["max_abs_error"] <= 1e-4


def test_every_file_is_in_the_manifest(golden_bundle: Bundle):
    on_disk = {path.name for path in golden_bundle.path.iterdir()}
    assert on_disk == {"bundle.json", *golden_bundle.manifest.files}
    golden_bundle.verify_files()


def test_its_runtime_is_a_session_with_the_manifests_sizes(golden_bundle: Bundle):
    session = open_session(golden_bundle.path)
    assert session.vocab_size == 30
    assert session.geometry == golden_bundle.manifest.geometry


def test_a_manifest_that_does_not_say_how_it_sees_audio_is_of_a_bundle_that_streams(
    bundle_dir: Path,
):
    edit(bundle_dir, lambda values: values.pop("streaming"))
    assert Bundle.open(bundle_dir).manifest.streaming


def test_a_missing_directory_is_an_error(tmp_path: Path):
    with pytest.raises(BundleError, match="does not exist"):
        Bundle.open(tmp_path / "nowhere")


def test_a_file_is_not_a_bundle(tmp_path: Path):
    file = tmp_path / "model.pt"
    file.write_bytes(b"weights")
    with pytest.raises(BundleError, match="not a directory"):
        Bundle.open(file)


def test_a_directory_of_something_else_is_an_error(tmp_path: Path):
    with pytest.raises(BundleError, match=r"not a bundle: it has no bundle\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not valid JSON"),
        (b'{"format_version": 1', "not valid JSON"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[" * 100_000, "nested more than 64 levels"),
        (b'{"steps": ' + b"[" * 70 + b"]" * 70 + b"}", "nested more than 64 levels"),
        (b"[1, 2]", "not a JSON object"),
        (b"{}", "no format_version"),
        (b'{"format_version": "new"}', "no format_version"),
        (b'{"format_version": 1}', "malformed"),
    ],
)
def test_a_broken_manifest_is_an_error_that_names_it(
    bundle_dir: Path, content: bytes, complaint: str
):
    (bundle_dir / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=complaint) as caught:
        Bundle.open(bundle_dir)
    assert "bundle.json" in str(caught.value)


def test_a_manifest_that_never_ends_is_refused_unread(bundle_dir: Path):
    (bundle_dir / "bundle.json").unlink()
    (bundle_dir / "bundle.json").symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="a link that leads out of its folder"):
        Bundle.open(bundle_dir)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("geometry"),
        lambda values: values.update(color="red"),
        lambda values: values.update(vocab_size="many"),
        lambda values: values["geometry"].update(shift=3),
        lambda values: values["geometry"].update(speed=3),
        lambda values: values.update(geometry=None),
        lambda values: values["files"].update({"tokens.txt": {"size": 3}}),
        lambda values: values.update(files=[]),
        lambda values: values.update(streaming="no"),
        lambda values: values.update(runtime=["ncnn"]),
        lambda values: values.update(steps=[1]),
        lambda values: values.update(unk_id=2.5),
        lambda values: values.update(blank_id=True),
        lambda values: values["metadata"].update(arch=[3]),
        lambda values: values["config"].update(encoder=None),
        lambda values: values["precision"].update(encoder=16),
        lambda values: values["geometry"].update(dynamic="yes"),
        lambda values: values["features"].update(sample_rate="fast"),
        lambda values: values["files"]["tokens.txt"].update(size="3"),
    ],
)
def test_a_manifest_with_wrong_entries_is_malformed(
    bundle_dir: Path, change: Callable[[dict[str, Any]], object]
):
    edit(bundle_dir, change)
    with pytest.raises(BundleError, match="malformed"):
        Bundle.open(bundle_dir)


def test_a_wrong_entry_of_a_manifest_is_named(bundle_dir: Path):
    edit(bundle_dir, lambda values: values["precision"].update(encoder=16))
    with pytest.raises(BundleError, match=r"BundleManifest\.precision\.encoder: 16 is not a text"):
        Bundle.open(bundle_dir)


def test_a_changed_feature_configuration_does_not_match_its_fingerprint(bundle_dir: Path):
    edit(bundle_dir, lambda values: values["features"].update(high_freq=-200.0))
    with pytest.raises(BundleError, match="fingerprint"):
        Bundle.open(bundle_dir)


def test_a_newer_format_asks_for_an_upgrade(bundle_dir: Path):
    edit(bundle_dir, lambda values: values.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(BundleError, match="pip install --upgrade calve"):
        Bundle.open(bundle_dir)


def test_an_option_that_is_a_path_is_kept_as_text(golden_bundle: Bundle, tmp_path: Path):
    config = {"encoder": {"table": Path("some/table")}, "model": {}}
    write_manifest(tmp_path, replace(golden_bundle.manifest, config=config))
    assert read_manifest(tmp_path).config["encoder"] == {"table": "some/table"}


@pytest.mark.parametrize("name", ["tokens.txt", "golden.npz", "encoder_jit_trace-pnnx.ncnn.bin"])
def test_a_missing_file_is_named(bundle_dir: Path, name: str):
    (bundle_dir / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.open(bundle_dir)


def test_a_file_that_goes_away_after_the_bundle_was_opened_is_named(bundle_dir: Path):
    bundle = Bundle.open(bundle_dir)
    (bundle_dir / "tokens.txt").unlink()
    with pytest.raises(BundleError, match=r"cannot read the bundle[\s\S]*tokens\.txt"):
        bundle.verify_files()


@pytest.mark.parametrize("name", ["tokens.txt", "bundle.json", "extra.txt"])
def test_a_link_that_leads_out_of_the_bundle_is_refused_unread(
    bundle_dir: Path, tmp_path: Path, name: str
):
    (tmp_path / "secret").write_text("hunter2")
    (bundle_dir / name).unlink(missing_ok=True)
    (bundle_dir / name).symlink_to(tmp_path / "secret")
    with pytest.raises(BundleError, match="leads out of its folder") as caught:
        Bundle.open(bundle_dir)
    assert "hunter2" not in str(caught.value)
    assert caught.value.where == str(bundle_dir / name)


def test_a_link_within_the_bundle_and_one_to_the_bundle_are_followed(
    bundle_dir: Path, tmp_path: Path
):
    (bundle_dir / "tokens.txt").rename(bundle_dir / "symbols.txt")
    (bundle_dir / "tokens.txt").symlink_to("symbols.txt")
    (tmp_path / "link").symlink_to(bundle_dir)
    assert len(Bundle.open(tmp_path / "link").symbols) == 30


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "a/../../secret", "/etc/passwd", "./tokens.txt", "tokens.txt/", "a//b"),
        *("", ".", "x\0y", "x" * 256, "/".join(["x" * 255] * 5)),
    ],
)
def test_a_name_that_is_none_of_a_file_in_the_bundle_is_refused(
    bundle_dir: Path, tmp_path: Path, name: str
):
    (tmp_path / "secret").write_text("hunter2")
    edit(bundle_dir, lambda values: values["files"].update({name: values["files"]["tokens.txt"]}))
    with pytest.raises(BundleError, match="not the name of a file inside the bundle") as caught:
        Bundle.open(bundle_dir)
    assert len(caught.value.what) < 200


def test_what_a_message_quotes_of_a_manifest_is_cut(bundle_dir: Path):
    edit(bundle_dir, lambda values: values["precision"].update({"x" * 5000: 16}))
    with pytest.raises(BundleError, match="16 is not a text") as caught:
        Bundle.open(bundle_dir)
    assert len(caught.value.what) < 200
    edit(bundle_dir, lambda values: values["geometry"].update({"y" * 5000: 16}))
    with pytest.raises(BundleError, match="has no option 'yyy") as caught:
        Bundle.open(bundle_dir)
    assert len(caught.value.what) < 200


def test_a_truncated_file_is_named_with_both_sizes(bundle_dir: Path):
    path = bundle_dir / "joiner_jit_trace-pnnx.ncnn.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=f"{len(content) - 1} bytes instead of {len(content)}"):
        Bundle.open(bundle_dir)


def test_one_flipped_bit_is_found_by_its_hash(bundle_dir: Path):
    path = bundle_dir / "encoder_jit_trace-pnnx.ncnn.bin"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    bundle = Bundle.open(bundle_dir)
    with pytest.raises(BundleError, match=r"changed since the export: encoder_jit_trace-pnnx"):
        bundle.verify_files()


def test_a_runtime_that_is_not_installed_is_named(bundle_dir: Path):
    edit(bundle_dir, lambda values: values.update(runtime="abacus"))
    with pytest.raises(PluginError, match="abacus"):
        Bundle.open(bundle_dir).open_streaming_session()


def test_symbols_that_do_not_fit_the_networks_are_refused(bundle_dir: Path):
    SymbolTable(("<blk>", "a")).write(bundle_dir / "tokens.txt")
    edit(bundle_dir, lambda values: values["files"].pop("tokens.txt"))
    with pytest.raises(TokensError, match="2 symbols, but the model scores 30"):
        _ = Bundle.open(bundle_dir).symbols


def test_json_values_are_plain(golden_bundle: Bundle):
    values = json.loads(json.dumps(golden_bundle.manifest.to_json()))
    assert BundleManifest.from_json(values) == golden_bundle.manifest


@pytest.mark.parametrize(
    ("place", "number", "said"),
    [
        (("geometry", "shift"), 10**9, "shift is 1000000000; it must be from 1 to 60000"),
        (("geometry", "overlap"), -1, "overlap is -1; it must be from 0 to 10000"),
        (("geometry", "frame_shift_ms"), 0, "frame_shift_ms is 0; it must be from 1 to 1000"),
        (("geometry", "left_context"), 10**30, "left_context is 1000000"),
        (("tail_padding_frames",), -1, "tail_padding_frames is -1; it must be from 0 to 10000"),
        (("tail_padding_frames",), 2**63, "tail_padding_frames is 9223372036854775808"),
        (("context_size",), 10**6, "context_size is 1000000; it must be from 1 to 64"),
        (("blank_id",), 2**31, "blank_id is 2147483648; it must be from 0 to 999999"),
        (("blank_id",), 30, "blank_id is 30; the ids of 30 symbols end before it"),
        (("unk_id",), 31, "unk_id is 31; the ids of 30 symbols end before it"),
        (("features", "sample_rate"), 2**32, "sample_rate is 4294967296; it must be from 8000"),
        (("features", "num_mel_bins"), 0, "num_mel_bins is 0; it must be from 1 to 1024"),
        (("features", "dither"), float("nan"), "dither is nan; it must be from 0 to 1"),
        (("features", "low_freq"), 7700.0, "no filters lie between low_freq 7700"),
        (("files", "tokens.txt", "size"), -1, "size is -1; it must be from 0 to"),
        (("parameters", "encoder"), 1e300, "is not an integer"),
    ],
)
def test_a_number_beyond_its_range_is_refused_before_it_costs_anything(
    bundle_dir: Path, place: tuple[str, ...], number: float, said: str
):
    def change(values: dict[str, Any]) -> None:
        for name in place[:-1]:
            values = values[name]
        values[place[-1]] = number

    edit(bundle_dir, change)
    with pytest.raises(BundleError, match=re.escape(said)):
        Bundle.open(bundle_dir)
