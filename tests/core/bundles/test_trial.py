"""Networks that are not what their bundle says, tried in a child process."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import calve
from calve.api import BundleError
from calve.bundles import trial
from calve.bundles.bundle import Bundle
from calve.bundles.trial import try_bundle
from calve.cli.application import run
from calve.common.children import Child, run_children
from calve.common.trust import TRUST_VARIABLE
from calve.protocols.bundles import FileRecord


@pytest.fixture(autouse=True)
def nothing_tried_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALVE_TRIED", "")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The child processes that a trial starts."""
    started: list[Any] = []

    def counted(given: Any) -> Any:
        started.extend(given)
        return run_children(given)

    monkeypatch.setattr(trial, "run_children", counted)
    return started


def agree(folder: Path, name: str) -> None:
    """Let the manifest promise the file as it is now."""
    manifest = json.loads((folder / "bundle.json").read_text())
    record = FileRecord.of(folder / name)
    manifest["files"][name] = {"size": record.size, "sha256": record.sha256}
    (folder / "bundle.json").write_text(json.dumps(manifest))


def with_last_layer(folder: Path, layer: str) -> None:
    """Exchange the last layer of the decoder; ``layer`` has places for its input and output."""
    path = folder / "decoder_jit_trace-pnnx.ncnn.param"
    lines = path.read_text().splitlines()
    lines[-1] = layer.format(*lines[-1].split()[4:6])
    path.write_text("\n".join(lines) + "\n")
    agree(folder, path.name)


def crashing(folder: Path) -> None:
    """Let the decoder end in a layer without inputs, of which ncnn reads the first."""
    with_last_layer(folder, "Concat relu_0 0 1 {1}")


def test_a_sound_bundle_is_tried_once(golden_bundle: Bundle, children: list[Any]) -> None:
    try_bundle(golden_bundle)
    try_bundle(golden_bundle)
    assert len(children) == 1


def test_a_changed_bundle_is_tried_again(bundle_dir: Path, children: list[Any]) -> None:
    try_bundle(Bundle.open(bundle_dir))
    os.utime(bundle_dir / "encoder_jit_trace-pnnx.ncnn.bin", ns=(1, 1))
    try_bundle(Bundle.open(bundle_dir))
    assert len(children) == 2


def test_a_trusted_bundle_is_not_tried(
    golden_bundle: Bundle, children: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    try_bundle(golden_bundle)
    assert not children


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
        ("import os; os.abort()", "crashed with SIGABRT"),
        ("import sys; print('no such method', file=sys.stderr); sys.exit(1)", "no such method"),
        ("while True: pass", "did not finish within 2 s"),
    ],
)
def test_what_happens_to_the_child_is_a_message(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 2.0)
    monkeypatch.setattr(trial, "_SECONDS_PER_MEGABYTE", 0.0)

    def other(given: list[Child]) -> Any:
        return run_children([replace(one, command=[sys.executable, "-c", code]) for one in given])

    monkeypatch.setattr(trial, "run_children", other)
    with pytest.raises(BundleError, match=said) as caught:
        try_bundle(golden_bundle)
    assert caught.value.where == str(golden_bundle.path)
    assert caught.value.fix is not None


@pytest.mark.parametrize(
    "command", [["transcribe", "SPEECH"], ["verify"]], ids=["transcribe", "verify"]
)
def test_networks_that_crash_do_not_take_the_command_down(
    bundle_dir: Path,
    shared_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    crashing(bundle_dir)
    speech = next((shared_data / "fsdd" / "recordings").glob("*.wav"))
    name, *rest = [str(speech) if word == "SPEECH" else word for word in command]
    assert run([name, str(bundle_dir), *rest]) == 1
    said = "".join(capsys.readouterr())
    assert "the networks cannot be run: a process that tried crashed with SIG" in said


def test_python_programs_get_an_error_as_well(bundle_dir: Path, shared_data: Path) -> None:
    crashing(bundle_dir)
    speech = next((shared_data / "fsdd" / "recordings").glob("*.wav"))
    with pytest.raises(BundleError, match="crashed with SIG"):
        calve.open_session(bundle_dir)
    with pytest.raises(BundleError, match="crashed with SIG"):
        calve.transcribe(bundle_dir, [speech])


def test_python_programs_may_trust_a_bundle(golden_bundle: Bundle, children: list[Any]) -> None:
    assert calve.open_session(golden_bundle.path, trust=True).vocab_size == 30
    assert not children
    assert TRUST_VARIABLE not in os.environ


@pytest.mark.parametrize(
    "arguments", [["bench"], ["quantize", "--output", "q"]], ids=lambda a: a[0]
)
def test_a_crash_ends_the_command_before_it_measures_or_writes(
    bundle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    crashing(bundle_dir)
    monkeypatch.chdir(tmp_path)
    assert run([arguments[0], str(bundle_dir), *arguments[1:]]) == 1
    assert "a process that tried crashed with SIG" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_bench_says_what_its_child_finds_wrong_without_a_traceback(
    bundle_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_last_layer(bundle_dir, "Reorg relu_0 1 1 {} {} 0=0")
    assert run(["bench", str(bundle_dir)]) == 1
    said = capsys.readouterr().err
    assert "ncnn cannot load the network" in said
    assert "File " not in said


def test_native_code_that_ends_the_process_with_success_is_an_error(
    golden_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(given: list[Child]) -> Any:
        return run_children([replace(one, command=[sys.executable, "-c", ""]) for one in given])

    monkeypatch.setattr(trial, "run_children", other)
    with pytest.raises(BundleError, match="ended too early"):
        try_bundle(golden_bundle)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_bundle_just_exported_is_not_tried(
    golden_checkpoint: Path, golden_tokens: Path, tmp_path: Path, children: list[Any]
) -> None:
    exported = calve.export(
        "lstm_transducer_stateless2",
        checkpoint=golden_checkpoint,
        tokens=golden_tokens,
        output=tmp_path / "onnx",
        format="onnx",
    )
    calve.open_session(exported.path)
    assert not children
