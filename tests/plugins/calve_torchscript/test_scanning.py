"""TorchScript files whose code does more than compute."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from calve.api import BundleError
from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.common.trust import TRUST_VARIABLE
from calve.protocols.bundles import FileRecord
from calve_torchscript.layout import load_networks
from calve_torchscript.lint import lint
from calve_torchscript.scanning import OPERATORS, code_problem

BundleOf = Callable[[str], Bundle]


class SavesInForward(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save([x], "PLACE")
        return x


class SavesWhenLoaded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 1

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return self.n, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.n = state[0]
        self.training = state[1]
        torch.save([state[0]], "PLACE")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Prints(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print(x)
        return x


class ReadsAFile(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("/etc/passwd", False, 10)


class Forks(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.jit.wait(torch.jit.fork(torch.relu, x))


class Computes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.lstm = torch.nn.LSTM(3, 4, proj_size=2)
        self.blocks = torch.nn.ModuleList([torch.nn.Conv1d(3, 3, 1), torch.nn.BatchNorm1d(3)])

    def forward(
        self, x: torch.Tensor, words: list[str], n: int | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, list[float]], str]:
        x = self.linear(x)
        y, (h, c) = self.lstm(x)
        x = x + y.mean()
        for block in self.blocks:
            x = block(x)
        if n is None:
            n = len(words)
        assert n > 0, "no words"
        names = {"a": [float(n), 1.0]}
        return torch.softmax(x[..., :n], -1).masked_fill(x > 0, 2.0), h, c, names, "-".join(words)


def saved(module: torch.nn.Module, path: Path, place: Path | None = None) -> Path:
    """The file of a compiled module; PLACE in its code becomes another path."""
    torch.jit.save(torch.jit.script(module.eval()), str(path))
    if place is not None:
        rewrite(path, lambda name, text: text.replace(b"PLACE", str(place).encode()))
    return path


def rewrite(path: Path, edit: Callable[[str, bytes], bytes], **added: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, edit(name, content) if name.endswith(".py") else content)
        for name, content in added.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (SavesInForward, "torch.save"),
        (SavesWhenLoaded, "torch.save"),
        (Prints, "print"),
        (ReadsAFile, "torch.from_file"),
        (Forks, "fork"),
    ],
)
def test_code_that_acts_is_named(tmp_path: Path, module: type[torch.nn.Module], named: str) -> None:
    problem = code_problem(saved(module(), tmp_path / "a.pt"))
    assert problem is not None
    assert named in problem


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """What is refused below would write the file."""
    saved(SavesWhenLoaded(), tmp_path / "a.pt", tmp_path / "written")
    torch.jit.load(str(tmp_path / "a.pt"))
    assert (tmp_path / "written").exists()


def test_code_that_computes_is_not_refused(tmp_path: Path) -> None:
    assert code_problem(saved(Computes(), tmp_path / "a.pt")) is None


@pytest.mark.parametrize("format_name", ["jit-trace", "jit-script"])
def test_what_calve_exports_is_not_refused(bundle_of: BundleOf, format_name: str) -> None:
    assert [code_problem(path) for path in bundle_of(format_name).path.glob("*.pt")] in (
        [None] * 3,
        [None],
    )


@pytest.mark.parametrize(
    "line",
    [
        '_0 = [1].save("PLACE")',
        '_0 = getattr([1], "save")("PLACE")',
        '_0 = getattr([1], "save")',
        "_0 = torch",
        "_0 = ops.aten.save",
        "_0 = ops.mine.run(x)",
        '_0 = fork(torch.relu, "x")',
        "_0 = __torch__.torch.classes.mine.Thing()",
        '_0 = torch.save(x, "PLACE")',
        '_0 = eval("1")',
        "import os",
        "def",
    ],
)
def test_another_way_to_say_it_is_refused_too(tmp_path: Path, line: str) -> None:
    path = saved(Computes(), tmp_path / "a.pt")

    def edit(name: str, text: bytes) -> bytes:
        head, found, tail = text.partition(b"  def forward(")
        if not found:
            return text
        body, colon, rest = tail.partition(b":\n")
        return head + found + body + colon + f"    {line}\n".encode() + rest

    rewrite(path, edit)
    assert code_problem(path) is not None


def test_pickles_that_name_other_classes_are_refused(tmp_path: Path) -> None:
    path = saved(Computes(), tmp_path / "a.pt")
    rewrite(path, lambda name, text: text, **{"a/extra.pkl": b"cposix\nsystem\n."})
    assert "posix system" in str(code_problem(path))


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    """Python's reader takes the last one, torch's the first."""
    path = saved(Computes(), tmp_path / "a.pt")
    rewrite(path, lambda name, text: text, **{"A/DATA.pkl": b".", "a/data.pkl": b"."})
    assert "two entries" in str(code_problem(path))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 and nothing more")
    assert "damaged" in str(code_problem(tmp_path / "a.pt"))


def test_no_operator_takes_the_name_of_a_file() -> None:
    """Apart from texts that are only texts, such as a separator or the name of a mode."""
    schemas = torch._C._jit_get_all_schemas()
    named = {
        schema.name.removeprefix("aten::")
        for schema in schemas
        for argument in schema.arguments
        if argument.name in ("filename", "path", "file") and "str" in str(argument.type)
    }
    assert {"save", "from_file"} <= named
    assert not named & OPERATORS


@pytest.fixture
def malicious(bundle_of: BundleOf, tmp_path: Path) -> Path:
    """A bundle whose decoder writes ``tmp_path / "written"`` when it is loaded."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_of("jit-trace").path, folder)
    path = folder / "decoder_jit_trace.pt"
    saved(SavesWhenLoaded(), path, tmp_path / "written")
    manifest = json.loads((folder / "bundle.json").read_text())
    record = FileRecord.of(path)
    manifest["files"][path.name] = {"size": record.size, "sha256": record.sha256}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["lint"],
        ["verify"],
        ["inspect"],
        ["transcribe", "SPEECH"],
        ["bench", "--runs", "1"],
        ["metadata", "show"],
    ],
    ids=lambda command: command[0],
)
def test_no_command_lets_it_write(
    malicious: Path, tmp_path: Path, shared_data: Path, command: list[str]
) -> None:
    speech = next((shared_data / "fsdd" / "recordings").glob("*.wav"))
    name, *options = [str(speech) if word == "SPEECH" else word for word in command]
    if name == "metadata":
        name, options = "metadata", ["show", str(malicious)]
    else:
        options = [str(malicious), *options]
    code = run([name, *options])
    assert not (tmp_path / "written").exists()
    if name in ("lint", "verify", "transcribe", "bench"):
        assert code == 1


def test_who_trusts_it_can_load_it(
    malicious: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match=r"may do more than compute: .*torch\.save") as caught:
        load_networks(malicious)
    assert "--trust" in str(caught.value.fix)
    assert [finding.code for finding in lint(malicious)] == ["file"]
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    load_networks(malicious)
    assert (tmp_path / "written").exists()


def test_whatever_torch_raises_for_a_damaged_file_is_an_error_of_the_bundle(
    bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(*arguments: object, **settings: object) -> None:
        raise IndexError("Argument passed to at() was not in the map.")

    monkeypatch.setattr(torch.jit, "load", at)
    with pytest.raises(BundleError, match=r"cannot load the file: .*Argument passed to at"):
        load_networks(bundle_of("jit-trace").path)
