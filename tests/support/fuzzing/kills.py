"""Kills of every command that writes: at random moments and when files change.

``python -m fuzzing.kills --seed 1 --count 200`` runs a campaign.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzzing.judging import CACHE_OF_TORCH
from fuzzing.materials import MODEL_OPTIONS, RECIPE, TRAIN_OPTIONS, make_materials

__all__ = ["WRITERS", "Kill", "Writer", "kill_writer"]

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_FOR_ALL = 240
"""Seconds until a command that goes on without an interruption is given up."""
_AFTER_SIGNAL = 60
_POLL = 0.002
_VARYING = ("log", "tensorboard")
"""Folders of a training run whose files have the time in their names."""


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
      arguments: What follows ``calve``; "out" is where it writes, alone in a folder.
      needs: Materials that it reads.
      atomic: Whether the output is there whole or not at all. Otherwise it is a folder that the
        next run continues, with ``again``.
      again: Further arguments of the next run.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]
    atomic: bool = True
    again: tuple[str, ...] = ()


def _export(name: str) -> Writer:
    inputs = ("--checkpoint", "tiny.pt", "--tokens", "tokens.txt", *MODEL_OPTIONS)
    arguments = ("export", RECIPE, *inputs, "--format", name, "--output", "place/out")
    return Writer(f"export-{name}", arguments, ("tiny.pt", "tokens.txt"))


_QUANTIZE = "quantize ncnn --calibration audio/a.wav,audio/b.wav --num-workers 1 --output place/out"
_AVERAGE = "average --checkpoint tiny.pt --output place/out"
_PREPARE = (
    "prepare from-manifests --manifest-dir own --train train --valid dev --test test --jobs 1 "
    "--vocab-size 30 --ngram-order 2 --data-dir place/out"
)
_TRAIN = f"train {RECIPE} --corpus from-manifests --data-dir data --exp-dir place/out"
WRITERS = (
    *(_export(name) for name in ("ncnn", "onnx", "jit-trace", "jit-script", "state-dict")),
    Writer("quantize", tuple(_QUANTIZE.split()), ("ncnn", "audio")),
    Writer("average", tuple(_AVERAGE.split()), ("tiny.pt",)),
    Writer("prepare", tuple(_PREPARE.split()), ("own",), atomic=False),
    Writer(
        "train",
        (*_TRAIN.split(), *TRAIN_OPTIONS, "--num-epochs", "3", "--save-every-n", "1"),
        ("data", "own"),
        atomic=False,
        again=("--resume", "1"),
    ),
)


@dataclass(frozen=True)
class Kill:
    """What was done to a command, and what was wrong afterwards."""

    writer: str
    how: str
    faults: tuple[str, ...]


class _Case:
    """A folder with materials, where a command runs again and again."""

    def __init__(self, writer: Writer, materials: Path, folder: Path) -> None:
        self.writer = writer
        self.folder = folder
        self.place, self.temporary = folder / "place", folder / "tmp"
        for made in (self.place, self.temporary, folder / "home"):
            made.mkdir(parents=True)
        for name in writer.needs:
            source = materials / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True)
            else:
                shutil.copy(source, folder / name)

    def started(self, *more: str) -> subprocess.Popen[bytes]:
        places = {"TMPDIR": str(self.temporary), "HOME": str(self.folder / "home")}
        with (self.folder / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "calve", *self.writer.arguments, *more],
                cwd=self.folder,
                env=os.environ | places | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")

    def whole_run(self, *more: str) -> tuple[int, float]:
        """Exit code and seconds of a run that nobody interrupts."""
        start = time.monotonic()
        code = self.started(*more).wait(_FOR_ALL)
        return code, time.monotonic() - start

    def output(self) -> dict[str, int]:
        """The files of the output, and whether something is in them."""
        found = {}
        for path in sorted(self.place.rglob("*")):
            name = path.relative_to(self.place)
            if path.is_file() and not set(name.parts) & set(_VARYING):
                found[str(name)] = min(path.stat().st_size, 1)
        return found

    def names(self) -> set[str]:
        """All that is in the places where the command writes."""
        return {str(path) for place in (self.place, self.temporary) for path in place.rglob("*")}

    def leftovers(self) -> list[str]:
        """What no run may leave."""
        hidden = [path for path in self.place.rglob(".*") if path.name != ".lock"]
        temporary = [one for one in self.temporary.iterdir() if CACHE_OF_TORCH not in one.name]
        return [str(path.relative_to(self.folder)) for path in (*hidden, *temporary)]

    def clear(self) -> None:
        for place in (self.place, self.temporary):
            shutil.rmtree(place)
            place.mkdir()


def kill_writer(
    writer: Writer, materials: Path, folder: Path, rng: Random, count: int
) -> Iterator[Kill]:
    """Kill a command ``count`` times; each time the next run must make up for it."""
    case = _Case(writer, materials, folder)
    code, seconds = case.whole_run()
    expected = case.output()
    wrong = [] if code == 0 else [f"a whole run ends with {code}: {case.said()}"]
    wrong += [f"a whole run leaves {name}" for name in case.leftovers()]
    yield Kill(writer.name, "nothing", tuple(wrong))
    for _ in range(count):
        case.clear()
        how = _kill_once(case, rng, seconds)
        yield Kill(writer.name, how, tuple(_faults(case, expected)))


def _kill_once(case: _Case, rng: Random, seconds: float) -> str:
    """Run the command and send it a signal; says which and when."""
    number = rng.choice(_SIGNALS)
    process = case.started()
    if rng.random() < 0.5:
        moment = rng.uniform(0.1, 1.0) * seconds
        _wait_until(process, moment)
        when = f"after {moment:.2f} s of {seconds:.2f} s"
    else:
        changes = rng.randint(1, 12)
        _wait_for_changes(process, case, changes)
        when = f"at change {changes} of its files"
    process.send_signal(number)
    try:
        process.wait(_AFTER_SIGNAL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        when += ", and it did not end"
    return f"{number.name} {when}"


def _wait_until(process: subprocess.Popen[bytes], moment: float) -> None:
    end = time.monotonic() + moment
    while process.poll() is None and time.monotonic() < end:
        time.sleep(_POLL)


def _wait_for_changes(process: subprocess.Popen[bytes], case: _Case, changes: int) -> None:
    names = case.names()
    while process.poll() is None and changes > 0:
        now = case.names()
        changes -= len(now ^ names)
        names = now
        time.sleep(_POLL)


def _faults(case: _Case, expected: dict[str, int]) -> Iterator[str]:
    said = case.said()
    if "unexpected" in said or "Traceback" in said:
        yield f"it said: {said}"
    there = (case.place / "out").exists()
    if case.writer.atomic and there:
        if {name: size for name, size in case.output().items() if name[0] != "."} != expected:
            yield f"half an output: {sorted(case.output())}"
        shutil.rmtree(case.place / "out", ignore_errors=True)
        (case.place / "out").unlink(missing_ok=True)
    code, _ = case.whole_run(*case.writer.again)
    if code:
        yield f"the next run ends with {code}: {case.said()}"
    if case.output() != expected:
        yield f"the next run makes {sorted(case.output())}, not {sorted(expected)}"
    yield from (f"left after the next run: {name}" for name in case.leftovers())


def main() -> int:
    """The exit code: 1 if any kill has a fault."""
    parser = argparse.ArgumentParser(prog="fuzzing.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200, help="number of kills")
    parser.add_argument("--writer", nargs="*", help="kill these commands only")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="for materials, cases")
    options = parser.parse_args()
    folder = options.folder.absolute()
    materials = make_materials(folder / "materials")
    writers = [one for one in WRITERS if not options.writer or one.name in options.writer]
    faulty = 0
    for writer in writers:
        place = folder / f"kills-{options.seed}" / writer.name
        shutil.rmtree(place, ignore_errors=True)
        rng = Random(f"{options.seed} {writer.name}")
        for kill in kill_writer(writer, materials, place, rng, options.count // len(writers)):
            print(f"{kill.writer}: {kill.how}: {'; '.join(kill.faults) or 'ok'}", flush=True)
            faulty += bool(kill.faults)
    print(f"{faulty} with faults")
    return int(faulty > 0)


if __name__ == "__main__":
    sys.exit(main())
