from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calve.api import DataError
from calve_lhotse.demo_audio import READINGS, write_demo
from calve_lhotse.synthesis import Reading, draw_reading, installed_synthesizers, speak

needs = {
    name: pytest.mark.skipif(name not in installed_synthesizers(), reason=f"no {name} here")
    for name in ("espeak-ng", "flite")
}
VOICES = [
    pytest.param("espeak-ng", "en-us+f2", marks=needs["espeak-ng"]),
    pytest.param("flite", "slt", marks=needs["flite"]),
]


@pytest.mark.parametrize(("synthesizer", "voice"), VOICES)
def test_a_faster_reading_is_shorter(tmp_path: Path, synthesizer: str, voice: str) -> None:
    slow, fast = (
        speak(Reading("one two three", synthesizer, voice, rate, 100), tmp_path / "a.wav")
        for rate in (0.8, 1.2)
    )
    assert 0.5 * 16000 < len(fast) < 0.85 * len(slow)
    assert np.abs(fast).max() > 0.05
    assert list(tmp_path.iterdir()) == []


@needs["espeak-ng"]
def test_a_voice_that_does_not_exist_is_an_error_naming_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nobody'"):
        speak(Reading("one", "espeak-ng", "nobody"), tmp_path / "a.wav")


def test_a_missing_synthesizer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_synthesizers() == ()
    with pytest.raises(DataError, match="espeak-ng cannot speak"):
        speak(Reading("one", "espeak-ng", "en-us"), tmp_path / "a.wav")
    with pytest.raises(DataError, match="not found"):
        write_demo(tmp_path / "demo", READINGS)
    assert not (tmp_path / "demo").exists()


def test_drawn_readings_use_many_voices_and_only_what_is_installed() -> None:
    generator = np.random.default_rng(0)
    readings = [draw_reading("one", ["espeak-ng"], generator) for _ in range(100)]
    assert len({reading.voice for reading in readings}) > 50
    assert {reading.synthesizer for reading in readings} == {"espeak-ng"}


def test_the_shipped_demo_says_what_its_transcripts_say() -> None:
    folder = Path(__file__).parents[3] / "plugins" / "calve_transducer" / "digits" / "recordings"
    lines = (folder / "transcripts.txt").read_text().splitlines()
    assert dict(line.split("\t") for line in lines) == {
        f"{name}.wav": reading.text for name, reading in READINGS.items()
    }
    assert {path.name for path in folder.glob("*.wav")} == {f"{name}.wav" for name in READINGS}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 700_000
