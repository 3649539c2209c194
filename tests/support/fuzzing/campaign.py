"""A campaign: many mutations by one seed, a summary by format, and how to replay what failed."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random

from fuzzing.blobs import SECRET
from fuzzing.formats import FORMATS, Command, Format
from fuzzing.judging import Fault, Snapshot, judge
from fuzzing.server import Ended, Limits, Server

__all__ = ["Campaign", "Finding", "planned", "summary"]

_LG = "transcribe graph-model audio/a.wav --LG data/lang_bpe_30/LG.npz --allow-partial 1"
_WARM_UP = (
    *(["transcribe", f, "audio/a.wav"] for f in ("ncnn", "onnx", "jit-trace", "state-dict")),
    ["transcribe", "ncnn", "audio/a.wav", "--decoding-method", "modified_beam_search"],
    f"{_LG} --decoding-method fast_beam_search_LG".split(),
    f"{_LG} --decoding-method fast_beam_search_nbest_LG --num-paths 20".split(),
)


@dataclass(frozen=True)
class Finding:
    """A mutation with its faults; none if calve did what it should.

    Attributes:
      name: ``FORMAT/NUMBER``; with the seed it makes the same case again.
      mutation: What was changed.
      arguments: The command.
      ended: How it ended.
      place: Where it surfaced, as far as the output says.
    """

    name: str
    mutation: str
    arguments: tuple[str, ...]
    ended: Ended
    faults: tuple[Fault, ...]
    place: str = ""


@dataclass
class Campaign:
    """Mutations of one seed.

    Attributes:
      seed: Together with a case's name it decides everything about the case.
      materials: The folder that `make_materials` filled.
      scratch: Where cases are made; those with faults are kept.
      limits: Of each command.
      keep: Whether cases without faults are kept too.
    """

    seed: int
    materials: Path
    scratch: Path
    limits: Limits = field(default_factory=Limits)
    keep: bool = False

    def run(self, names: Iterable[str], servers: int = 1) -> Iterator[Finding]:
        """Run cases on several servers at once, and yield their findings as they come."""
        waiting: SimpleQueue[str] = SimpleQueue()
        for name in names:
            waiting.put(name)
        found: SimpleQueue[Finding | BaseException | None] = SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(waiting, found), daemon=True)
            for _ in range(servers)
        ]
        for thread in threads:
            thread.start()
        working = len(threads)
        while working:
            one = found.get()
            if one is None:
                working -= 1
            elif isinstance(one, BaseException):
                raise one
            else:
                yield one

    def _work(
        self, waiting: SimpleQueue[str], found: SimpleQueue[Finding | BaseException | None]
    ) -> None:
        try:
            server = Server(_WARM_UP, self.materials)
            while True:
                try:
                    name = waiting.get_nowait()
                except Empty:
                    break
                found.put(self._named_case(name, server))
            server.close()
        except BaseException as error:
            found.put(error)
        found.put(None)

    def _named_case(self, name: str, server: Server) -> Finding:
        try:
            return self._case(name, server)
        except Exception as error:
            raise RuntimeError(f"the case {name} of seed {self.seed} cannot be made") from error

    def _case(self, name: str, server: Server) -> Finding:
        kind = next(one for one in FORMATS if one.name == name.rpartition("/")[0])
        rng = Random(f"{self.seed}/{name}")
        folder = self.scratch / name.replace("/", "-")
        work = self._place(kind, folder)
        mutation = kind.mutate(rng, work)
        command = _expanded(kind.draw_command(rng), work)
        snapshot = Snapshot(folder)
        ended = server.run(command.arguments, folder, self.limits)
        faults = judge(
            ended,
            folder,
            snapshot,
            output=command.output,
            atomic=command.atomic,
            prints_json="--json" in command.arguments,
        )
        place = _place_of(folder) if faults else ""
        if any(one.kind == "unexpected error" for one in faults):
            # Once more for the traceback.
            work = self._place(kind, folder)
            rng = Random(f"{self.seed}/{name}")
            kind.mutate(rng, work)
            server.run(["--debug", *command.arguments], folder, self.limits)
            place = _place_of(folder)
        if not faults and not self.keep:
            shutil.rmtree(folder)
        return Finding(name, mutation, command.arguments, ended, tuple(faults), place)

    def _place(self, kind: Format, folder: Path) -> Path:
        """Copy what the format needs into a fresh case."""
        shutil.rmtree(folder, ignore_errors=True)
        work = folder / "work"
        for name in ("tmp", "home", "work"):
            (folder / name).mkdir(parents=True)
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        (folder / "secret.txt").write_text(f"{SECRET}\n" * 3)
        for need in kind.needs:
            source, _, target = need.partition(":")
            path, copy = self.materials / source, work / (target or source)
            if path.is_dir():
                shutil.copytree(path, copy, symlinks=True)
            else:
                shutil.copy2(path, copy)
        return work


def _expanded(command: Command, work: Path) -> Command:
    """The command with the names that ``folder/*`` stands for, as a shell gives them."""
    arguments: list[str] = []
    for argument in command.arguments:
        if argument.endswith("/*"):
            arguments += sorted(str(path.relative_to(work)) for path in work.glob(argument))
        else:
            arguments.append(argument)
    return replace(command, arguments=tuple(arguments))


_FRAME = re.compile(r'File "(?:[^"]*/)?((?:core|plugins)/[^"]+)", line (\d+)(?:, | )in (\w+)')


def _place_of(folder: Path) -> str:
    """The last of calve's own lines in what was printed."""
    text = (folder / "stderr").read_text(errors="replace")
    frames = _FRAME.findall(text)
    if not frames:
        return ""
    # A crash prints the latest call first, a traceback last.
    file, line, function = frames[0] if "most recent call first" in text else frames[-1]
    return f"{file}:{line} {function}"


def planned(count: int, formats: Sequence[Format] = FORMATS) -> list[str]:
    """Names of ``count`` cases, as the formats' weights share them out; each has at least one."""
    total = sum(one.weight for one in formats)
    shares = {one.name: max(1, round(count * one.weight / total)) for one in formats}
    names = [f"{name}/{number}" for name, share in shares.items() for number in range(share)]
    Random(count).shuffle(names)
    return names


def summary(findings: Sequence[Finding]) -> str:
    """A table by format: mutations, refusals, faults by kind, seconds."""
    rows = defaultdict(list)
    for finding in findings:
        rows[finding.name.rpartition("/")[0]].append(finding)
    lines = [
        f"{'format':18} {'mutations':>9} {'refused':>8} {'accepted':>8} {'seconds':>8}  faults"
    ]
    for name, found in sorted(rows.items()):
        refused = sum(bool(one.ended.code) for one in found)
        kinds = Counter(fault.kind for one in found for fault in one.faults)
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
        seconds = sum(one.ended.seconds for one in found)
        lines.append(
            f"{name:18} {len(found):9} {refused:8} {len(found) - refused:8} {seconds:8.0f}  {said}"
        )
    faulty = sum(bool(one.faults) for one in findings)
    seconds = sum(one.ended.seconds for one in findings)
    return "\n".join(
        [*lines, f"{'all':18} {len(findings):9} {'':8} {'':8} {seconds:8.0f}  {faulty} with faults"]
    )


def report(finding: Finding, seed: int) -> str:
    """What happened in one case and the command that makes it happen again."""
    kinds = "; ".join(f"{fault.kind}: {fault.details}" for fault in finding.faults)
    return (
        f"{kinds}\n  where:    {finding.place or '?'}\n  mutation: {finding.mutation[:300]!r}\n"
        f"  command:  calve {' '.join(finding.arguments)}\n"
        f"  replay:   make fuzz SEED={seed} CASE={finding.name}"
    )


def show_progress(done: int, count: int, started: float) -> None:
    """Say on a terminal how far the campaign is."""
    if sys.stderr.isatty():
        print(f"\r{done} of {count}, {time.monotonic() - started:.0f} s", end="", file=sys.stderr)
