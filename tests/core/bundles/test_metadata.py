"""``calve metadata`` and ``calve lint`` on calve's own bundles and on foreign ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from invoking import invoke

from calve.bundles.bundle import Bundle
from calve.bundles.metadata import bundle_exporter, read_metadata, write_metadata
from calve.cli.lint import lint
from calve.cli.metadata import metadata
from calve.errors import BundleError, ConfigError

TABLE = {"arch": 3, "num_encoder_layers": 3, "encoder_dim": 32, "rnn_hidden_size": 48}
ENCODER = "encoder_jit_trace-pnnx.ncnn.param"


@pytest.fixture
def foreign_dir(goldens: Path, golden_tokens: Path, tmp_path: Path) -> Path:
    """What icefall and an older pnnx leave behind: six files and tokens, no metadata."""
    source = goldens / "ncnn_int8" / "pnnx-20250930"
    for network in ("encoder", "decoder", "joiner"):
        for suffix in ("param", "bin"):
            target = tmp_path / f"{network}_jit_trace-pnnx.ncnn.{suffix}"
            target.write_bytes((source / f"{network}.fp16.{suffix}").read_bytes())
    shutil.copy(golden_tokens, tmp_path / "tokens.txt")
    return tmp_path


def run(command: object, *arguments: object) -> Result:
    return invoke(command, arguments, catch_exceptions=False)


def test_show_prints_the_table(golden_bundle: Bundle) -> None:
    assert json.loads(run(metadata, "show", golden_bundle.path, "--json").stdout) == TABLE
    assert "encoder_dim = 32\n" in run(metadata, "show", golden_bundle.path).stdout


def test_write_stamps_what_the_recipe_calls_for_and_keeps_the_manifest_right(
    bundle_dir: Path,
) -> None:
    original = (bundle_dir / ENCODER).read_bytes()
    write_metadata(bundle_dir, {"encoder_dim": 7})
    assert Bundle.open(bundle_dir).manifest.metadata["encoder_dim"] == 7
    result = run(metadata, "write", bundle_dir, "--json")
    assert json.loads(result.stdout) == TABLE
    assert (bundle_dir / ENCODER).read_bytes() == original
    bundle = Bundle.open(bundle_dir)
    bundle.verify_files()
    assert bundle.manifest.metadata == TABLE


def test_write_leaves_alone_what_else_the_manifest_says_of_files(bundle_dir: Path) -> None:
    (bundle_dir / "notes.txt").write_text("mine")
    tokens = bundle_dir / "tokens.txt"
    tokens.write_bytes(tokens.read_bytes().replace(b"word3", b"wordX"))
    write_metadata(bundle_dir, {"encoder_dim": 7})
    bundle = Bundle.open(bundle_dir)
    assert "notes.txt" not in bundle.manifest.files
    with pytest.raises(BundleError, match=r"changed since the export: tokens\.txt\n"):
        bundle.verify_files()


@pytest.mark.usefixtures("bundled_plugins")
def test_a_foreign_bundle_is_stamped_with_what_its_layers_tell(foreign_dir: Path) -> None:
    assert read_metadata(foreign_dir) is None
    found = json.loads(run(lint, foreign_dir, "--runtime", "sherpa-ncnn", "--json").stdout)
    assert [finding["code"] for finding in found["findings"]] == ["metadata-missing"]
    assert run(metadata, "write", foreign_dir).exit_code == 0
    assert read_metadata(foreign_dir) == TABLE
    assert run(lint, foreign_dir).exit_code == 0
    assert {path.name for path in foreign_dir.iterdir()} >= {ENCODER, "tokens.txt"}
    assert not (foreign_dir / "bundle.json").exists()


@pytest.mark.usefixtures("bundled_plugins")
def test_values_given_by_hand_win(foreign_dir: Path) -> None:
    run(metadata, "write", foreign_dir, "--set", "rnn_hidden_size=99")
    assert read_metadata(foreign_dir) == {**TABLE, "rnn_hidden_size": 99}


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("assignment", ["encoder_dim", "encoder_dim=", "=5"])
def test_a_malformed_assignment_is_refused(foreign_dir: Path, assignment: str) -> None:
    result = run(metadata, "write", foreign_dir, "--set", assignment)
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr
    assert read_metadata(foreign_dir) is None


@pytest.mark.usefixtures("bundled_plugins")
def test_an_unknown_key_is_refused_and_nothing_is_written(foreign_dir: Path) -> None:
    with pytest.raises(ConfigError, match="cannot hold d_model=5"):
        write_metadata(foreign_dir, {"d_model": 5})
    assert read_metadata(foreign_dir) is None


@pytest.mark.usefixtures("bundled_plugins")
def test_show_of_an_unstamped_model_says_how_to_stamp_it(foreign_dir: Path) -> None:
    result = run(metadata, "show", foreign_dir)
    assert result.exit_code == 1
    assert "carries no metadata" in result.stderr
    assert "calve metadata write" in result.stderr


def test_lint_prints_each_finding_with_its_fix_and_exits_with_1(bundle_dir: Path) -> None:
    path = bundle_dir / ENCODER
    path.write_text(path.read_text().replace("87 116", "86 116", 1))
    result = run(lint, bundle_dir)
    assert result.exit_code == 1
    assert "[layer-count]" in result.stdout
    assert f"where: {path}:2" in result.stdout
    assert "fix:   write '87 116' in line 2" in result.stdout
    report = json.loads(run(lint, bundle_dir, "--json").stdout)
    assert report["errors"] == 1
    assert report["findings"][0].keys() == {"severity", "code", "where", "what", "fix"}


def test_lint_of_a_sound_bundle_exits_with_0(golden_bundle: Bundle) -> None:
    result = run(lint, golden_bundle.path, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"errors": 0, "findings": []}


@pytest.mark.parametrize(("name", "message"), [("absent", "does not exist"), ("empty", "no model")])
def test_a_directory_without_a_model_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=message):
        bundle_exporter(tmp_path / name)
