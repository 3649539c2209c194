"""What may be opened as a recording, and which numbers a header may hold."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve.data import audio_files
from calve.data.audio import audio_duration, read_audio
from calve.data.recordings import find_recordings, find_with_references
from calve.errors import AudioError, CalveError

SAMPLES = (np.random.default_rng(0).normal(size=16000) * 3000).astype(np.int16)
READ = np.float32(SAMPLES) / 32768


def content(kind: str = "WAV", rate: int = 16000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    samples = np.repeat(SAMPLES[:, None], channels, axis=1)
    soundfile.write(file, samples, rate, format=kind, subtype="PCM_16")
    return file.getvalue()


def fed(path: Path, data: bytes) -> threading.Thread:
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF"])
def test_a_pipe_is_read(tmp_path: Path, kind: str) -> None:
    writer = fed(tmp_path / "pipe", content(kind))
    np.testing.assert_array_equal(read_audio(tmp_path / "pipe").samples, READ)
    writer.join()


def test_a_pipe_without_content_is_an_error(tmp_path: Path) -> None:
    writer = fed(tmp_path / "pipe", b"")
    with pytest.raises(AudioError, match="the pipe gave nothing") as caught:
        read_audio(tmp_path / "pipe")
    assert caught.value.where == str(tmp_path / "pipe")
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "_SECONDS_FOR_A_WRITER", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioError, match=r"nobody wrote to this pipe for 0\.2 s"):
        read_audio(tmp_path / "pipe")


def test_a_writer_that_is_slow_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_files, "_SECONDS_FOR_A_WRITER", 0.5)
    os.mkfifo(tmp_path / "pipe")
    data = content()

    def write() -> None:
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            for start in (0, 1000, 2000):
                time.sleep(0.8)
                pipe.write(data[start : start + 1000] if start < 2000 else data[start:])

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    np.testing.assert_array_equal(read_audio(tmp_path / "pipe").samples, READ)
    writer.join()


def test_a_pipe_is_refused_where_a_recording_is_read_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for read in (
        lambda: audio_duration(tmp_path / "pipe.wav"),
        lambda: find_recordings([tmp_path / "pipe.wav"]),
        lambda: find_recordings([tmp_path]),
        lambda: find_with_references([tmp_path], None),
    ):
        with pytest.raises(CalveError, match="a pipe, which can be read only once") as caught:
            read()
        assert caught.value.where == str(tmp_path / "pipe.wav")


def test_a_pipe_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_files, "_MOST_PIPED_BYTES", 1 << 30)
    os.mkfifo(tmp_path / "pipe")
    endless = subprocess.Popen(["sh", "-c", f"cat /dev/zero > '{tmp_path / 'pipe'}'"])
    try:
        with pytest.raises(AudioError, match="the pipe gives more than 1 GiB"):
            read_audio(tmp_path / "pipe")
    finally:
        endless.kill()
        endless.wait()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_the_standard_input_is_read(name: str) -> None:
    script = (
        "import sys; from calve.data.audio import read_audio; "
        "print(read_audio(sys.argv[1]).samples.tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], input=content(), capture_output=True, check=True
    )
    assert bytes.fromhex(done.stdout.decode()) == READ.tobytes()


def test_errors_of_the_standard_input_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no audio" * 100)))
    with pytest.raises(AudioError, match="cannot decode") as caught:
        read_audio("-")
    assert caught.value.where == "the standard input"


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(AudioError, match="the standard input is closed"):
        read_audio("-")


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(AudioError, match="the standard input is a terminal") as caught:
            read_audio("-")
    os.close(controller)
    assert "calve transcribe BUNDLE -" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero"])
def test_a_device_is_not_read(name: str) -> None:
    with pytest.raises(AudioError, match="is not a file"):
        read_audio(name)


def wav(rate: int, channels: int) -> bytes:
    layout = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate, rate * 2 % 2**32, 2 * channels % 2**16, 16
    )
    body = b"WAVEfmt " + layout + b"data" + struct.pack("<I", 32000) + SAMPLES.tobytes()
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flac(rate: int) -> bytes:
    data = bytearray(content("FLAC"))
    numbers = int.from_bytes(data[18:26], "big") & ((1 << 44) - 1) | rate << 44
    data[18:26] = numbers.to_bytes(8, "big")
    return bytes(data)


def aiff(exponent: int) -> bytes:
    data = bytearray(content("AIFF"))
    struct.pack_into(">H", data, data.index(b"COMM") + 16, exponent)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(wav(2, 1), id="wav, 2 Hz"),
        pytest.param(wav(999, 1), id="wav, 999 Hz"),
        pytest.param(wav(768_001, 1), id="wav, 768,001 Hz"),
        pytest.param(wav(0x7FFFFFFF, 1), id="wav, 2,147,483,647 Hz"),
        pytest.param(flac(2), id="flac, 2 Hz"),
        pytest.param(flac(1_048_575), id="flac, 1,048,575 Hz"),
        pytest.param(aiff(0), id="aiff, tiny rate"),
    ],
)
def test_an_impossible_sampling_rate_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(
        AudioError, match=r"sampling rate .* must be from 1,000 to 768,000 Hz"
    ) as caught:
        read_audio(tmp_path / "a")
    assert caught.value.where == str(tmp_path / "a")


@pytest.mark.parametrize("rate", [1000, 8000, 192_000, 768_000])
def test_the_rates_in_the_range_are_read(tmp_path: Path, rate: int) -> None:
    (tmp_path / "a").write_bytes(wav(rate, 1))
    assert read_audio(tmp_path / "a").duration == 16000 / rate


@pytest.mark.parametrize("channels", [65, 1000])
def test_too_many_channels_are_refused(tmp_path: Path, channels: int) -> None:
    (tmp_path / "a").write_bytes(wav(16000, channels))
    with pytest.raises(AudioError, match=r"number of channels .* must be from 1 to 64"):
        read_audio(tmp_path / "a")


@pytest.mark.parametrize("channels", [0, 65535])
def test_a_header_without_usable_channels_is_an_error(tmp_path: Path, channels: int) -> None:
    (tmp_path / "a").write_bytes(wav(16000, channels))
    with pytest.raises(AudioError):
        read_audio(tmp_path / "a")


def test_64_channels_are_averaged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content(channels=64))
    audio = read_audio(tmp_path / "a")
    np.testing.assert_allclose(audio.samples, READ, atol=1e-7)
    assert audio.notes == ("averaged 64 channels",)
