"""Mutations of any file: of its bytes, of its lines, and of what lies under its name."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzzing.values import hostile_number, hostile_text

__all__ = ["SECRET", "edit_bytes", "edit_lines", "edit_place", "rewrite"]

SECRET = "hunter2-is-the-secret"
"""The content of ../secret.txt, which no message may show."""

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"


def rewrite(path: Path, content: bytes | str) -> None:
    """Give a file other content without touching the material that it is a hard link to."""
    path.unlink(missing_ok=True)
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    path.write_bytes(content)


def edit_bytes(rng: Random, path: Path) -> str:
    """Change the content of a file as a sequence of bytes."""
    before = path.read_bytes()
    said, change = rng.choice(_BYTE_EDITS)
    rewrite(path, change(rng, before))
    return said


def edit_lines(rng: Random, path: Path) -> str:
    """Change the content of a text file line by line; of another file, byte by byte."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return edit_bytes(rng, path)
    said = [_edit_line(rng, lines) for _ in range(rng.choice((1, 1, 2, 3)))]
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\r"))
    text = end.join(lines) + rng.choice((end, end, ""))
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    rewrite(path, text.encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass"))
    return f"{'; '.join(said)}; {encoding}, ends {end!r}"


def edit_place(rng: Random, path: Path) -> str:
    """Put something else where a regular file is expected."""
    # Who names a file himself may show it; who opens a bundle of somebody has named a folder only.
    own = path.parent.name == "work"
    said, change = rng.choice(_PLACES[:-1] if own else _PLACES)
    path.unlink(missing_ok=True)
    change(path)
    return said


def _edit_line(rng: Random, lines: list[str]) -> str:
    if not lines:
        lines.append(hostile_text(rng))
        return "a line where there was none"
    number = rng.randrange(len(lines))
    kind = rng.choice(("drop", "repeat", "swap", "word", "word", "word", "join", "hostile", "many"))
    if kind == "drop":
        del lines[number]
    elif kind == "repeat":
        lines.insert(number, lines[number])
    elif kind == "swap":
        other = rng.randrange(len(lines))
        lines[number], lines[other] = lines[other], lines[number]
    elif kind == "join":
        lines[number : number + 2] = [" ".join(lines[number : number + 2])]
    elif kind == "hostile":
        lines[number] = hostile_text(rng)
    elif kind == "many":
        lines[number:number] = [lines[number]] * 20_000
    else:
        words = lines[number].split(" ")
        at = rng.randrange(len(words))
        words[at] = rng.choice((hostile_text(rng), str(hostile_number(rng)), words[at] * 2))
        lines[number] = " ".join(words)
        return f"line {number} is {lines[number][:60]!r}"
    return f"line {number}: {kind}"


def _flip(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4, 32))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _head_flip(rng: Random, content: bytes) -> bytes:
    return _flip(rng, content[:256]) + content[256:]


def _tail_flip(rng: Random, content: bytes) -> bytes:
    return content[:-256] + _flip(rng, content[-256:])


def _block(rng: Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    size = rng.choice((4, 16, 512))
    return content[:start] + bytes([rng.choice((0, 255))]) * size + content[start + size :]


def _cut(rng: Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _remove(rng: Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 8, 4096)) :]


def _insert(rng: Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.choice((1, 8, 4096))) + content[start:]


_BYTE_EDITS: tuple[tuple[str, Callable[[Random, bytes], bytes]], ...] = (
    ("bits flipped", _flip),
    ("bits flipped", _flip),
    ("bits flipped in the head", _head_flip),
    ("bits flipped in the head", _head_flip),
    ("bits flipped in the tail", _tail_flip),
    ("a block of one value", _block),
    ("cut off", _cut),
    ("bytes removed", _remove),
    ("bytes inserted", _insert),
    ("twice", lambda rng, content: content + content),
    ("empty", lambda rng, content: b""),
    ("random bytes", lambda rng, content: rng.randbytes(rng.choice((1, 100, 10_000)))),
    ("compressed", lambda rng, content: gzip.compress(content, mtime=0)),
    ("a Git LFS pointer", lambda rng, content: _LFS),
    ("NUL bytes", lambda rng, content: bytes(len(content))),
    ("a web page", lambda rng, content: b"<!DOCTYPE html><html><body>404</body></html>"),
)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(8 * 2**30)


_PLACES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("missing", lambda path: None),
    ("a folder", lambda path: path.mkdir()),
    ("a pipe", lambda path: os.mkfifo(path)),
    ("a link to a device", lambda path: path.symlink_to("/dev/zero")),
    ("a link to nothing", lambda path: path.symlink_to("not-there")),
    ("a link to itself", lambda path: path.symlink_to(path.name)),
    ("8 GiB of zeros", _sparse),
    ("a link to a secret", lambda path: path.symlink_to(_secret_beside(path))),
)


def _secret_beside(path: Path) -> Path:
    """The secret.txt of the case, from wherever in it the file lies."""
    return next(folder for folder in path.parents if folder.name == "work").parent / "secret.txt"
