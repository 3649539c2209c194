"""Mutations of recordings: fields of their headers, and samples that are odd."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from fuzzing.blobs import rewrite

__all__ = ["edit_header", "odd_samples"]

_SIZES = (0, 1, 2, 3, 7, 8, 16, 255, 1000, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_RATES = (0, 1, 2, 7, 100, 1000, 7999, 48000, 192000, 655350, 2**20 - 1, 2**31 - 1, 2**32 - 1)


def edit_header(rng: Random, path: Path) -> str:
    """Change one field of the header of a WAV, FLAC, AIFF or AU file."""
    content = bytearray(path.read_bytes())
    edit = _FORMATS[path.suffix]
    said = edit(rng, content)
    rewrite(path, bytes(content))
    return said


def _wav(rng: Random, content: bytearray) -> str:
    fields = (
        *(("RIFF size", 4, "<I", _SIZES), ("fmt size", 16, "<I", _SIZES)),
        *(("codec", 20, "<H", (0, 1, 2, 3, 6, 7, 17, 0x55, 0xFFFE, 0xFFFF)),),
        *(("channels", 22, "<H", (0, 2, 3, 8, 1000, 1024, 65535)),),
        *(("rate", 24, "<I", _RATES), ("rate", 24, "<I", _RATES)),
        *(("byte rate", 28, "<I", _SIZES), ("block", 32, "<H", (0, 1, 3, 4, 65535))),
        *(("bits", 34, "<H", (0, 1, 4, 7, 8, 24, 32, 64, 65535)), ("data size", 40, "<I", _SIZES)),
    )
    return _set(rng, content, fields)


def _au(rng: Random, content: bytearray) -> str:
    fields = (
        *(("offset", 4, ">I", _SIZES), ("data size", 8, ">I", _SIZES)),
        *(("encoding", 12, ">I", (0, 1, 2, 3, 5, 6, 7, 23, 27, 99)), ("rate", 16, ">I", _RATES)),
        ("channels", 20, ">I", (0, 2, 3, 1000, 1024, 2**31, 2**32 - 1)),
    )
    return _set(rng, content, fields)


def _aiff(rng: Random, content: bytearray) -> str:
    start = bytes(content).find(b"COMM") + 8
    fields = (
        *(("FORM size", 4, ">I", _SIZES), ("channels", start, ">H", (0, 2, 1000, 65535))),
        *(("frames", start + 2, ">I", _SIZES), ("bits", start + 6, ">H", (0, 1, 7, 64, 65535))),
        ("rate exponent", start + 8, ">H", (0, 0x3FFF, 0x4000, 0x400B, 0x401F, 0x7FFF, 0xFFFF)),
        ("rate", start + 10, ">I", _SIZES),
    )
    return _set(rng, content, fields)


def _flac(rng: Random, content: bytearray) -> str:
    """STREAMINFO: rate of 20 bits, channels of 3, sample size of 5, number of samples of 36."""
    (packed,) = struct.unpack(">Q", content[18:26])
    rate, channels, bits, samples = (
        packed >> 44,
        packed >> 41 & 7,
        packed >> 36 & 31,
        packed & 2**36 - 1,
    )
    said = rng.choice(("rate", "rate", "channels", "bits", "samples", "samples"))
    if said == "rate":
        rate = rng.choice((0, 1, 2, 100, 48000, 655350, 2**20 - 1))
    elif said == "channels":
        channels = rng.randrange(8)
    elif said == "bits":
        bits = rng.randrange(32)
    else:
        samples = rng.choice((0, 1, 2**31, 2**32, 2**36 - 1))
    content[18:26] = struct.pack(">Q", rate << 44 | channels << 41 | bits << 36 | samples)
    return f"STREAMINFO {said}: {rate} Hz, {channels + 1} channels, {bits + 1} bits, {samples}"


_Field = tuple[str, int, str, tuple[int, ...]]


def _set(rng: Random, content: bytearray, fields: tuple[_Field, ...]) -> str:
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        name, place, code, values = rng.choice(fields)
        value = rng.choice(values)
        content[place : place + struct.calcsize(code)] = struct.pack(code, value)
        said.append(f"{name} = {value}")
    return "; ".join(said)


_FORMATS: dict[str, Callable[[Random, bytearray], str]] = {
    ".wav": _wav,
    ".flac": _flac,
    ".aiff": _aiff,
    ".au": _au,
}


def odd_samples(rng: Random, path: Path) -> str:
    """Write a sound file whose header is in order and whose samples are not."""
    said, make = rng.choice(_SAMPLES)
    rate = rng.choice((16000, 16000, 8000, 11025, 44100, 48000, 1, 100, 384000))
    samples = make(np.random.default_rng(rng.randrange(2**32)))
    path.unlink(missing_ok=True)
    target = path.with_suffix(".wav")
    target.unlink(missing_ok=True)
    soundfile.write(target, samples, rate, subtype="FLOAT", format="WAV")
    target.rename(path)
    return f"{said}, {rate} Hz, {samples.shape}"


_Generator = np.random.Generator

_SAMPLES: tuple[tuple[str, Callable[[_Generator], np.ndarray]], ...] = (
    ("nothing", lambda rng: np.zeros(0)),
    ("one sample", lambda rng: np.ones(1)),
    ("few samples", lambda rng: rng.normal(size=300)),
    ("silence", lambda rng: np.zeros(8000)),
    ("NaN", lambda rng: np.where(np.arange(8000) == 500, np.nan, 0.1)),
    ("infinity", lambda rng: np.where(np.arange(8000) == 500, np.inf, 0.1)),
    ("largest floats", lambda rng: np.full(8000, 3e38)),
    ("int16 scale", lambda rng: rng.normal(size=8000) * 8000),
    ("opposite phases", lambda rng: np.outer(rng.normal(size=8000) * 0.1, (1, -1))),
    ("one channel silent", lambda rng: np.outer(rng.normal(size=8000) * 0.1, (1, 0))),
    ("constant", lambda rng: np.full(8000, 0.9)),
    ("eight channels", lambda rng: rng.normal(size=(8000, 8)) * 0.1),
    ("tiny", lambda rng: rng.normal(size=8000) * 1e-38),
)
