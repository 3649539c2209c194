from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calve.api import ExportError
from calve_ncnn import pnnx
from calve_ncnn.pnnx import Traced, convert, find_pnnx


class IntegerLengths(nn.Module):
    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, (lengths.to(torch.int64) - 3) // 2


def trace(module: nn.Module, folder: Path, *inputs: Tensor) -> Traced:
    path = folder / "net.pt"
    torch.jit.save(torch.jit.trace(module, inputs, check_trace=False), str(path))
    shapes = (f"[{','.join(map(str, one.shape))}]f32" for one in inputs)
    return Traced("net", path, tuple(shapes))


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in the place of the real binary, to fail in ways that need luck."""
    path = folder / "pnnx"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(pnnx, "find_pnnx", lambda: path)


def test_the_wheels_binary_is_found() -> None:
    assert find_pnnx().parent.name == "pnnx"


def test_a_missing_binary_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match="pnnx is not installed") as caught:
        find_pnnx()
    assert "pip install" in (caught.value.fix or "")


@pytest.mark.parametrize(("fp16", "tag"), [(False, 0), (True, 0x01306B47)])
def test_a_linear_layer_converts(tmp_path: Path, fp16: bool, tag: int) -> None:
    network = trace(nn.Linear(8, 4), tmp_path, torch.zeros(1, 8))
    (converted,) = convert([network], tmp_path / "out", fp16=fp16, time_limit=60)
    assert [layer.type for layer in converted.param.layers] == ["Input", "InnerProduct"]
    assert int.from_bytes(converted.bin_path.read_bytes()[:4], "little") == tag


def test_an_operator_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    network = trace(IntegerLengths(), tmp_path, torch.zeros(1, 4), torch.tensor([5.0]))
    with pytest.raises(ExportError, match=r"does not have: Tensor\.to") as caught:
        convert([network], tmp_path / "out", fp16=False, time_limit=60)
    assert "pass_ncnn" in caught.value.what


def test_a_wrong_input_shape_is_an_error_with_the_end_of_the_log(tmp_path: Path) -> None:
    traced = trace(nn.Linear(8, 4), tmp_path, torch.zeros(1, 8))
    wrong = Traced("net", traced.path, ("[1,9]f32",))
    with pytest.raises(ExportError) as caught:
        convert([wrong], tmp_path / "out", fp16=False, time_limit=60)
    assert "    | " in caught.value.what


def test_a_damaged_torchscript_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"not a zip file")
    with pytest.raises(ExportError):
        convert([Traced("net", path, ("[1,8]f32",))], tmp_path / "out", fp16=False, time_limit=60)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo loading; kill -SEGV $$", r"crashed with SIGSEGV[\s\S]*\| loading"),
        ("echo thinking; sleep 60", r"did not finish within 1 s[\s\S]*\| thinking"),
        ("echo oops >&2; exit 3", r"exited with code 3[\s\S]*\| oops"),
        ("exit 0", r"wrote no ncnn files[\s\S]*printed nothing"),
        (
            'for a; do case $a in ncnn*=*) echo x > "${a#*=}";; esac; done\n'
            "echo 'stack along batch axis 0 is not supported'",
            "stack along batch axis 0 is not supported",
        ),
    ],
)
def test_every_way_to_fail_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    network = trace(nn.Linear(8, 4), tmp_path, torch.zeros(1, 8))
    stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(ExportError, match=message) as caught:
        convert([network], tmp_path / "out", fp16=False, time_limit=1)
    assert caught.value.where is not None
    assert caught.value.where.startswith("net network, pnnx ")


def test_a_binary_for_another_machine_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = trace(nn.Linear(8, 4), tmp_path, torch.zeros(1, 8))
    stand_in(tmp_path, monkeypatch, "")
    (tmp_path / "pnnx").write_bytes(b"\x7fNOT AN ELF")
    with pytest.raises(ExportError, match="cannot be started"):
        convert([network], tmp_path / "out", fp16=False, time_limit=5)
