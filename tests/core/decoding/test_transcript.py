"""Words and times of hypotheses."""

from __future__ import annotations

import json

import pytest

from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.decoding.transcript import Transcript, recognition
from calve.protocols import Hypothesis

SYMBOLS = SymbolTable(("<blk>", "▁he", "llo", "▁you"))
GEOMETRY = StreamingGeometry(shift=32, overlap=9, subsampling_factor=4)


def test_times_are_seconds_of_encoder_frames():
    found = recognition(Hypothesis((1, 2, 3), (0, 5, 25)), SYMBOLS, GEOMETRY)
    assert found.text == "hello you"
    assert found.words == ("hello", "you")
    assert found.tokens == ("▁he", "llo", "▁you")
    assert found.timestamps == pytest.approx((0.0, 0.2, 1.0))
    assert found.word_timestamps == pytest.approx((0.0, 1.0))


def test_words_of_a_graph_come_with_their_own_times():
    hypothesis = Hypothesis((1, 2), (3, 5), words=("hullo",), word_timestamps=(4,))
    found = recognition(hypothesis, SYMBOLS, GEOMETRY)
    assert found.text == "hullo"
    assert found.word_timestamps == pytest.approx((0.16,))


def test_a_transcript_knows_its_real_time_factor_and_is_json():
    found = recognition(Hypothesis((3,), (10,)), SYMBOLS, GEOMETRY)
    transcript = Transcript.of(found, "a.wav", duration=4.0, seconds=1.0, notes=("resampled",))
    assert transcript.rtf == 0.25
    assert json.loads(json.dumps(transcript.to_json())) == {
        "path": "a.wav",
        "text": "you",
        "words": ["you"],
        "word_timestamps": [0.4],
        "tokens": ["▁you"],
        "timestamps": [0.4],
        "duration": 4.0,
        "rtf": 0.25,
        "notes": ["resampled"],
    }


def test_an_empty_recording_has_no_real_time_factor():
    found = recognition(Hypothesis((), ()), SYMBOLS, GEOMETRY)
    assert Transcript.of(found, "a.wav", duration=0.0, seconds=1.0).rtf == 0.0
