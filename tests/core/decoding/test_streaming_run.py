"""Throughput and latency of runs with many streams."""

from __future__ import annotations

from collections import Counter

import pytest

from calve.decoding.decoded import Decoded
from calve.decoding.streaming_run import StreamingRun
from calve.scoring.error_rates import DecodedUtterance


def _run(name: str, busy_seconds: float) -> StreamingRun:
    return StreamingRun(
        Decoded([DecodedUtterance(name, "one", "one")], []),
        Counter({1: 2, 3: 1}),
        step_seconds=[0.1, 0.3],
        step_streams=[3, 1],
        busy_seconds=busy_seconds,
        audio_seconds=6.0,
        feature_seconds=0.5,
    )


def test_throughput_is_audio_per_busy_second():
    assert _run("a", 2.0).throughput == pytest.approx(3.0)
    assert StreamingRun().throughput is None


def test_latency_counts_a_step_once_for_each_of_its_streams():
    assert _run("a", 1.0).latency_ms(50, 100) == pytest.approx([100.0, 300.0])


def test_latency_without_a_step_is_an_error():
    with pytest.raises((ValueError, IndexError)):
        StreamingRun().latency_ms(50)


def test_parallel_groups_are_as_slow_as_the_slowest():
    both = StreamingRun.of_groups([_run("a", 1.0), _run("b", 4.0)])
    assert both.busy_seconds == 4.0
    assert both.audio_seconds == 12.0
    assert both.feature_seconds == 1.0
    assert both.throughput == pytest.approx(3.0)
    assert both.endpoints == {1: 4, 3: 2}
    assert [one.name for one in both.decoded.utterances] == ["a", "b"]
    assert both.step_streams == [3, 1, 3, 1]
