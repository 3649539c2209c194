"""What must not happen when a file is malformed, and how it is seen."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from fuzzing.blobs import SECRET
from fuzzing.server import Ended
from fuzzing.values import CANARY

__all__ = ["CACHE_OF_TORCH", "Fault", "Snapshot", "judge"]

_UNEXPECTED = re.compile(
    r"unexpected \w+: |please report it|Traceback \(most recent call last\)|^Traceback:", re.M
)
CACHE_OF_TORCH = "torchinductor_"
"""torch makes this empty folder in TMPDIR where it imports its compiler, which optimizers do."""
_EXIT_CODES = (0, 1, 2)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Fault:
    """Something that must not happen: its kind for the table, and details."""

    kind: str
    details: str


class Snapshot:
    """The files of a case before a command, to be compared with those after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = _files(folder)

    def changes(self) -> list[str]:
        """Paths that have come, gone, or changed in size or time; relative to the case."""
        after = _files(self._folder)
        names = self._before.keys() | after.keys()
        return sorted(name for name in names if self._before.get(name) != after.get(name))


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        is_folder = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            (0, 0) if is_folder else (status.st_size, status.st_mtime_ns)
        )
    return found


def judge(
    ended: Ended,
    folder: Path,
    snapshot: Snapshot,
    *,
    output: str | None,
    atomic: bool = True,
    prints_json: bool = False,
) -> list[Fault]:
    """The faults of one command.

    Args:
      ended: How it ended.
      folder: The case, with stdout and stderr.
      snapshot: Its files before the command.
      output: The place in ``work`` where the command may write.
      atomic: Whether the output must not exist after a failure.
      prints_json: Whether stdout must be JSON after a success.
    """
    stdout = (folder / "stdout").read_bytes()
    stderr = (folder / "stderr").read_bytes()
    texts = [one.decode("utf-8", "backslashreplace") for one in (stdout, stderr)]
    faults = [*_of_the_end(ended, texts), *_of_texts(texts)]
    faults += _of_files(ended, snapshot.changes(), output, atomic)
    if prints_json and ended.code == 0:
        faults += _of_json(stdout)
    return faults


def _of_the_end(ended: Ended, texts: list[str]) -> list[Fault]:
    if ended.code is None:
        return [Fault("no answer", f"{ended.seconds:.0f} s")]
    if ended.code < 0:
        return [Fault("crash", signal.Signals(-ended.code).name)]
    if found := [line for text in texts for line in text.splitlines() if _UNEXPECTED.search(line)]:
        return [Fault("unexpected error", found[0][:200])]
    if ended.code not in _EXIT_CODES:
        return [Fault("odd exit code", str(ended.code))]
    if ended.code and not any(text.strip() for text in texts):
        return [Fault("failure without a word", "")]
    return []


def _of_texts(texts: list[str]) -> list[Fault]:
    faults = []
    if any(SECRET in text for text in texts):
        faults.append(Fault("secret shown", ""))
    if control := _CONTROLS.search("".join(texts)):
        faults.append(Fault("control character printed", repr(control.group())))
    return faults


def _of_files(ended: Ended, changes: list[str], output: str | None, atomic: bool) -> list[Fault]:
    faults = []
    place = f"work/{output}" if output else None
    for name in filter(_matters, changes):
        if CANARY in name:
            faults.append(Fault("executed", name))
        elif name.startswith("tmp/"):
            faults.append(Fault("left in TMPDIR", name))
        elif place and (name == place or name.startswith(f"{place}/")):
            if atomic and ended.code != 0:
                faults.append(Fault("half-written output", name))
        elif Path(name).name.startswith("."):
            faults.append(Fault("left beside the output", name))
        else:
            faults.append(Fault("wrote elsewhere", name))
    # A command that was killed could not clean up.
    if ended.code is None or ended.code < 0:
        faults = [fault for fault in faults if fault.kind in ("executed", "wrote elsewhere")]
    return _first_of_each(faults)


def _matters(name: str) -> bool:
    if CANARY in name:
        return True
    own = name in ("stdout", "stderr", "tmp", "home")
    return not own and not name.startswith(("home/", f"tmp/{CACHE_OF_TORCH}"))


def _first_of_each(faults: list[Fault]) -> list[Fault]:
    return list({fault.kind: fault for fault in reversed(faults)}.values())


def _of_json(stdout: bytes) -> list[Fault]:
    try:
        text = stdout.decode("utf-8")
        try:
            json.loads(text)
        except ValueError:
            for line in text.splitlines():
                json.loads(line)
    except ValueError as error:
        return [Fault("broken JSON", str(error))]
    return []
