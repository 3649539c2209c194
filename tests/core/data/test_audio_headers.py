"""Recorders that were killed or wrote to pipes: what their headers say of the length is wrong."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.data.audio import AudioReader, read_audio
from calve.data.audio_headers import PatchedFile
from calve.errors import AudioError

SAMPLES = (np.random.default_rng(0).normal(size=16000) * 3000).astype(np.int16)
UNKNOWN = "the header does not say how long the recording is: read to the end of the file"


def wav(riff: int, data: int, kind: bytes = b"RIFF", chunks: bytes = b"") -> bytes:
    layout = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    return b"".join(
        [
            kind + struct.pack("<I", riff) + b"WAVE" + chunks,
            b"fmt " + layout + b"data" + struct.pack("<I", data),
            SAMPLES.tobytes(),
        ]
    )


def ds64(riff: int, data: int) -> bytes:
    return b"ds64" + struct.pack("<IQQQI", 28, riff, data, 0, 0)


def encoded(kind: str) -> bytearray:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format=kind, subtype="PCM_16")
    return bytearray(file.getvalue())


def with_size(kind: str, size: int) -> bytes:
    """A file of 16,000 samples whose header states that there are ``size`` bytes of them."""
    data = encoded(kind)
    if kind == "AIFF":
        at, layout, size = data.index(b"SSND") + 4, ">I", size + 8
    elif kind == "CAF":
        at, layout = data.index(b"data") + 4, ">Q"
    elif kind == "W64":
        at, layout = data.index(b"data\xf3") + 16, "<Q"
    else:
        at, layout = 8, ">I"
    size = min(size, 2 ** (8 * struct.calcsize(layout)) - 1)
    struct.pack_into(layout, data, at, size)
    return bytes(data)


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes):
        path = tmp_path / "a"
        path.write_bytes(content)
        return read_audio(path)

    return read


def assert_whole(audio, note: str | None) -> None:
    np.testing.assert_array_equal(audio.samples, SAMPLES / np.float32(32768))
    assert audio.notes == (() if note is None else (note,))
    assert audio.duration == 1.0


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
@pytest.mark.parametrize("total", [0, 36, 0xFFFFFFFF])
def test_the_samples_behind_a_wav_header_without_a_length_are_read(read, size, total) -> None:
    assert_whole(read(wav(total, size)), UNKNOWN)


def test_a_sound_wav_header_leaves_no_note(read) -> None:
    assert_whole(read(wav(32036, 32000)), None)
    # libsndfile reads the samples, so what the file says about itself does not matter.
    assert_whole(read(wav(0, 32000)), None)


@pytest.mark.parametrize("chunks", [ds64(0, 0), ds64(2**64 - 1, 2**64 - 1), b""])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_the_samples_behind_an_unfinished_rf64_header_are_read(read, chunks, size) -> None:
    assert_whole(read(wav(0xFFFFFFFF, size, b"RF64", chunks)), UNKNOWN)


def test_a_sound_rf64_header_leaves_no_note(read) -> None:
    assert_whole(read(wav(0xFFFFFFFF, 0xFFFFFFFF, b"RF64", ds64(32072, 32000))), None)


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**63 - 1])
@pytest.mark.parametrize("kind", ["AU", "CAF", "W64", "AIFF"])
def test_the_samples_behind_other_unfinished_headers_are_read(read, kind: str, size: int) -> None:
    assert_whole(read(with_size(kind, size)), UNKNOWN)


@pytest.mark.parametrize("kind", ["AU", "CAF", "W64", "AIFF"])
def test_other_sound_headers_leave_no_note(read, kind: str) -> None:
    assert_whole(read(bytes(encoded(kind))), None)


@pytest.mark.parametrize("kind", ["WAV", "AU", "CAF", "W64", "AIFF", "RF64"])
def test_a_file_that_was_cut_off_is_read_to_its_end(read, kind: str) -> None:
    whole = encoded(kind)
    audio = read(bytes(whole[: len(whole) - 24000]))
    expected = SAMPLES[: len(audio.samples)] / np.float32(32768)
    np.testing.assert_array_equal(audio.samples, expected)
    assert audio.duration == pytest.approx(0.25, abs=0.01)
    assert audio.notes == ("the header promises 1.0 s, the file ends after 0.2 s",) or (
        audio.notes == ("the header promises 1.0 s, the file ends after 0.3 s",)
    )


def test_an_mp3_that_was_cut_off_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", SAMPLES, 16000)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    assert (
        "the header promises 1.0 s, the file ends after 0.4 s"
        in read_audio(tmp_path / "a.mp3").notes
    )


def test_a_flac_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a", SAMPLES, 16000, format="FLAC")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="flac decoder lost sync") as caught:
        read_audio(tmp_path / "a")
    assert "ffmpeg" in str(caught.value.fix)


@pytest.mark.parametrize(("frames", "notes"), [(0, 0), (2**32, 1), (2**36 - 1, 1)])
def test_a_flac_header_that_counts_wrongly_costs_nothing(read, frames: int, notes: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 16000, format="FLAC")
    content = bytearray(file.getvalue())
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36 | frames
    content[18:26] = stated.to_bytes(8, "big")
    audio = read(bytes(content))
    np.testing.assert_array_equal(audio.samples, SAMPLES / np.float32(32768))
    assert len(audio.notes) == notes
    assert all("the file ends after 1.0 s" in note for note in audio.notes)


def test_an_empty_chunk_of_samples_before_other_chunks_is_empty(read) -> None:
    listed = b"LIST" + struct.pack("<I", 8000) + bytes(8000)
    content = wav(36 + len(listed), 0)[: -len(SAMPLES) * 2] + listed
    with pytest.raises(AudioError, match=r"no samples .* 8,052 bytes"):
        read(content)


def test_chunks_behind_the_samples_leave_no_note(read) -> None:
    listed = b"LIST" + struct.pack("<I", 8000) + bytes(8000)
    assert_whole(read(wav(32036 + len(listed), 32000) + listed), None)


def test_samples_that_the_header_does_not_count_are_named(read) -> None:
    audio = read(wav(36 + 16000, 16000))
    np.testing.assert_array_equal(audio.samples, SAMPLES[:8000] / np.float32(32768))
    assert audio.notes == ("16,000 bytes after the samples that the header counts were not read",)


@pytest.mark.parametrize("total", range(44))
def test_a_header_that_was_cut_is_an_error(tmp_path: Path, total: int) -> None:
    for kind in ("WAV", "AIFF", "CAF", "W64"):
        path = tmp_path / kind
        path.write_bytes(encoded(kind)[:total])
        with pytest.raises(AudioError):
            read_audio(path)


def test_the_repair_needs_no_memory_for_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(36, 0))
    with AudioReader(path) as reader:
        assert max(map(len, reader)) <= 16000


def test_a_patched_file_is_read_in_pieces_of_any_size() -> None:
    file = PatchedFile(io.BytesIO(bytes(20)), {3: b"abcd", 17: b"xyz"})
    expected = b"\0\0\0abcd" + bytes(10) + b"xyz"
    assert file.read() == expected
    for size in range(1, 8):
        file.seek(0)
        assert b"".join(iter(lambda size=size: file.read(size), b"")) == expected
    file.seek(-2, 2)
    assert (file.tell(), file.read(10)) == (18, b"yz")
