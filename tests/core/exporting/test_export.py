"""The way from a checkpoint to a bundle, and what happens when it cannot be gone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from calve.bundles.bundle import Bundle, read_manifest
from calve.data.tokens import SymbolTable
from calve.errors import (
    BundleError,
    CalveError,
    CheckpointError,
    ConfigError,
    ExportError,
    PluginError,
    TokensError,
)
from calve.exporting import parity
from calve.exporting.export import export
from calve.models.checkpoints import CheckpointChoice
from calve.registry.catalog import registry

RECIPE = "lstm_transducer_stateless2"
CALVE = [sys.executable, "-c", "from calve.cli.application import main; main()"]


@pytest.fixture
def job(golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of an export that works; its output is alone in a folder."""
    return {
        "recipe": RECIPE,
        "checkpoint": golden_checkpoint,
        "tokens": golden_tokens,
        "output": tmp_path / "out" / "bundle",
    }


def nothing_is_left_of(job: dict[str, Any]) -> bool:
    folder = job["output"].parent
    return not folder.exists() or not list(folder.iterdir())


def test_fp16_halves_the_files_and_stays_close(job: dict[str, Any], golden_bundle: Bundle):
    bundle = export(**job, fp16=True)
    name = "encoder_jit_trace-pnnx.ncnn.bin"
    full, half = golden_bundle.manifest.files[name].size, bundle.manifest.files[name].size
    assert half < 0.55 * full
    report = parity.ParityReport.from_json(bundle.manifest.parity)
    assert report.precision == "fp16"
    assert 1e-4 < report.max_abs_error < 5e-3


@pytest.mark.usefixtures("bundled_plugins")
def test_the_bundle_holds_the_tokens_that_the_networks_score(job: dict[str, Any], tmp_path: Path):
    with_disambiguation = tmp_path / "with_disambiguation.txt"
    symbols = SymbolTable.read(job["tokens"]).symbols
    SymbolTable((*symbols, "#0", "#1")).write(with_disambiguation)
    bundle = export(**job | {"tokens": with_disambiguation})
    assert SymbolTable.read(bundle.path / "tokens.txt").symbols == symbols


@pytest.mark.usefixtures("bundled_plugins")
def test_an_averaged_checkpoint_leaves_its_provenance(
    goldens: Path, job: dict[str, Any], tmp_path: Path
):
    choice = CheckpointChoice(exp_dir=goldens / "averaging", epoch=4, avg=2)
    tokens = tmp_path / "tokens.txt"
    SymbolTable(("<blk>", "<sos/eos>", "<unk>", *"abcdefgh")).write(tokens)
    bundle = export(**job | {"checkpoint": choice, "tokens": tokens}, fp16=False)
    provenance = bundle.manifest.provenance
    assert {file["name"] for file in provenance["files"]} == {"epoch-3.pt", "epoch-4.pt"}
    assert "2" in provenance["averaging"]


@pytest.mark.usefixtures("bundled_plugins")
def test_a_format_that_the_encoder_does_not_claim_is_refused(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    encoders = registry().encoders
    shy = replace(encoders.get("lstm"), formats=("onnx", "jit-trace"))
    monkeypatch.setattr(encoders, "get", lambda name: shy)
    with pytest.raises(ConfigError, match="cannot be exported to ncnn") as caught:
        export(**job)
    assert caught.value.fix == "formats that are claimed for it: onnx, jit-trace"
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_format_whose_packages_are_missing_says_what_to_install(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    requires = ["no-such-runtime>=1; extra == 'onnx'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda distribution: requires)
    with pytest.raises(PluginError, match="onnx needs no-such-runtime>=1") as caught:
        export(**job, format="onnx")
    assert caught.value.fix == "pip install 'calve[onnx]'"
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("reported", [None, {}, "fp32", {"encoder": "fp64"}])
def test_an_exporter_that_does_not_report_the_precision_is_told_so(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch, reported: object
):
    def write(workspace: Any) -> None:
        if reported is not None:
            workspace.report["precision"] = reported

    exporters = registry().exporters
    step = SimpleNamespace(name="write", summary="", run=SimpleNamespace(load=lambda: write))
    silent = replace(exporters.get("state-dict"), steps=(step,))
    monkeypatch.setattr(exporters, "get", lambda name: silent)
    with pytest.raises(ExportError, match="report the precision") as caught:
        export(**job, format="state-dict")
    assert "workspace.report['precision']" in caught.value.fix
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_what_a_step_reports_is_something_that_can_be_read_again(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def report(workspace: Any) -> None:
        workspace.report["tools"] = {"acme": 1.5}

    exporters = registry().exporters
    step = SimpleNamespace(name="report", summary="", run=SimpleNamespace(load=lambda: report))
    spec = exporters.get("state-dict")
    odd = replace(spec, steps=(*spec.steps, step))
    monkeypatch.setattr(exporters, "get", lambda name: odd)
    with pytest.raises(BundleError, match=r"BundleManifest\.tools\.acme: 1\.5 is not a text"):
        export(**job, format="state-dict")
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_an_existing_output_is_kept_unless_told_otherwise(job: dict[str, Any]):
    job["output"].mkdir(parents=True)
    (job["output"] / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        export(**job)
    assert (job["output"] / "precious").read_text() == "mine"
    export(**job, overwrite=True)
    assert not (job["output"] / "precious").exists()
    assert Bundle.open(job["output"])


@pytest.mark.usefixtures("bundled_plugins")
def test_a_failed_overwrite_leaves_the_old_bundle(job: dict[str, Any], tmp_path: Path):
    old = export(**job)
    with pytest.raises(CheckpointError):
        export(**job | {"checkpoint": tmp_path / "nowhere.pt"}, overwrite=True)
    old.verify_files()
    assert list(job["output"].parent.iterdir()) == [job["output"]]


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize(
    ("wrong", "error", "complaint"),
    [
        ({"tokens": None}, TokensError, "--tokens"),
        ({"tokens": Path("/nowhere/tokens.txt")}, TokensError, "/nowhere/tokens.txt"),
        ({"checkpoint": "/nowhere/epoch-1.pt"}, CheckpointError, "/nowhere/epoch-1.pt"),
        ({"checkpoint": "builtin:nothing"}, ConfigError, "builtin:nothing"),
        ({"format": "abacus"}, CalveError, "abacus"),
        ({"recipe": "lstm_transducer_stateles2"}, CalveError, RECIPE),
        ({"fp17": True}, ConfigError, "fp16"),
        ({"fp16": "perhaps"}, ConfigError, "fp16"),
        ({"overrides": {"encoder": {"encoder_dim": 33}}}, ConfigError, "33"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_written(
    job: dict[str, Any], wrong: dict[str, Any], error: type[CalveError], complaint: str
):
    with pytest.raises(error, match=complaint):
        export(**job | wrong)
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_tokens_of_another_model_are_refused(job: dict[str, Any], tmp_path: Path):
    SymbolTable(("<blk>", "a", "b")).write(tmp_path / "tokens.txt")
    with pytest.raises(TokensError, match="3 symbols, but the model scores 30"):
        export(**job | {"tokens": tmp_path / "tokens.txt"})
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_truncated_checkpoint_is_refused(job: dict[str, Any], tmp_path: Path):
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(Path(job["checkpoint"]).read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"truncated\.pt"):
        export(**job | {"checkpoint": truncated})
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_weights_that_are_not_numbers_do_not_become_a_bundle(job: dict[str, Any], tmp_path: Path):
    content = torch.load(job["checkpoint"], weights_only=True)
    content["model"]["joiner.output_linear.bias"][3] = float("nan")
    torch.save({"model": content["model"]}, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match=r"joiner\.output_linear\.bias holds NaN"):
        export(**job | {"checkpoint": tmp_path / "nan.pt"})
    assert nothing_is_left_of(job)


@pytest.mark.usefixtures("bundled_plugins")
def test_what_was_left_out_of_the_checkpoint_is_in_the_provenance(
    job: dict[str, Any], tmp_path: Path
):
    content = torch.load(job["checkpoint"], weights_only=True)
    content["model"]["decoder_giga.embedding.weight"] = torch.ones(30, 32)
    torch.save({"model": content["model"]}, tmp_path / "epoch-1.pt")
    request = job | {"checkpoint": tmp_path / "epoch-1.pt", "format": "state-dict"}
    bundle = export(**request)
    assert read_manifest(bundle.path).provenance["left_out"] == {"decoder_giga": 1}


@pytest.mark.usefixtures("bundled_plugins")
def test_disagreement_with_torch_stops_the_export(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(parity.LIMITS, "fp16", 1e-7)
    with pytest.raises(ExportError, match="does not agree with torch"):
        export(**job)
    assert nothing_is_left_of(job)


class Recorded:
    """Progress that remembers how each task ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.running: str | None = None

    def start(self, title: str, total: int | None = None) -> None:
        self.finish()
        self.running = title

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass

    def finish(self) -> None:
        self._end("finished")

    def abandon(self) -> None:
        self._end("abandoned")

    def _end(self, how: str) -> None:
        if self.running is not None:
            self.ended.append((self.running, how))
        self.running = None


@pytest.mark.usefixtures("bundled_plugins")
def test_a_failed_parity_check_ends_its_progress(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(parity.LIMITS, "fp32", -1.0)
    progress = Recorded()
    with pytest.raises(ExportError, match="does not agree with torch"):
        export(**job, format="state-dict", progress=progress)
    assert progress.running is None
    assert progress.ended[-1] == ("check parity with torch", "abandoned")


@pytest.mark.usefixtures("bundled_plugins")
def test_without_a_default_format_one_must_be_named(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    exporters = registry().exporters
    unflagged = {one.format: replace(one, default=False) for one in exporters}
    monkeypatch.setattr(exporters, "get", unflagged.get)
    with pytest.raises(ConfigError, match="no default export format") as caught:
        export(**job)
    assert "ncnn" in caught.value.fix
    assert nothing_is_left_of(job)


def command(job: dict[str, Any]) -> list[str]:
    return [
        *CALVE,
        "export",
        RECIPE,
        *("--checkpoint", str(job["checkpoint"])),
        *("--tokens", str(job["tokens"])),
        *("--output", str(job["output"])),
    ]


@pytest.fixture
def scratch_env(tmp_path: Path) -> dict[str, str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return os.environ | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def another_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Temporary files lie on another file system than outputs."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.mark.usefixtures("bundled_plugins", "another_file_system")
@pytest.mark.parametrize("name", ["ncnn", "onnx", "jit-trace", "state-dict"])
def test_temporary_files_may_lie_on_another_file_system(job: dict[str, Any], name: str):
    bundle = export(**job, format=name)
    assert sorted(bundle.manifest.files) == sorted(
        path.name for path in bundle.path.iterdir() if path.name != "bundle.json"
    )
    assert [path.name for path in job["output"].parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("step", ["pnnx", "parity"])
def test_ctrl_c_leaves_nothing(job: dict[str, Any], scratch_env: dict[str, str], step: str):
    with subprocess.Popen(
        command(job), env=scratch_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if step in line:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert "Traceback" not in errors
    assert nothing_is_left_of(job)
    assert not list(Path(scratch_env["TMPDIR"]).iterdir())


@pytest.mark.parametrize("limit_kb", [1, 400])
def test_a_disk_that_fills_up_is_a_message_and_leaves_nothing(
    job: dict[str, Any], scratch_env: dict[str, str], limit_kb: int
):
    """The limit on file sizes makes real writes fail, as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kb * 1024, limit_kb * 1024))

    finished = subprocess.run(
        command(job), env=scratch_env, preexec_fn=limit, capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 1
    assert "Error: " in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "unexpected" not in finished.stderr
    assert nothing_is_left_of(job)
    assert not list(Path(scratch_env["TMPDIR"]).iterdir())


@pytest.mark.usefixtures("bundled_plugins")
def test_an_output_in_which_no_runtime_could_open_a_file_is_refused_at_once(
    job: dict[str, Any], tmp_path: Path
):
    output = tmp_path / os.fsdecode(b"caf\xe9") / "bundle"
    with pytest.raises(ConfigError, match="not UTF-8"):
        export(**{**job, "output": output})
    assert not output.parent.exists()
