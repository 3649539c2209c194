"""Chunks and left contexts that dynamic chunk training did not show the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calve.api import StreamingGeometry
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.training_range import untrained

TRAINED = ConformerConfig(dynamic_chunk_training=True, short_chunk_size=25, num_left_chunks=4)


def stepping(chunk: int, left_context: int) -> StreamingGeometry:
    return StreamingGeometry(4 * chunk, 11, 4, left_context=left_context)


@pytest.mark.parametrize(("chunk", "left_context"), [(1, 4), (16, 64), (25, 100)])
def test_the_ends_of_the_range_belong_to_it(chunk: int, left_context: int) -> None:
    assert untrained(TRAINED, stepping(chunk, left_context)) == []


@pytest.mark.parametrize("left_context", [3, 101])
def test_another_left_context_is_named_with_the_range(left_context: int) -> None:
    (finding,) = untrained(TRAINED, stepping(25, left_context))
    assert f"left context of {left_context} frames" in finding
    assert finding.endswith("4 to 100 frames")


def test_a_longer_chunk_is_named_with_the_range() -> None:
    (finding,) = untrained(TRAINED, stepping(26, 64))
    assert "a chunk of 26 frames (1040 ms)" in finding
    assert finding.endswith("1 to 25 frames (40 to 1000 ms)")


def test_who_saw_everything_to_the_left_takes_any_left_context() -> None:
    assert untrained(replace(TRAINED, num_left_chunks=-1), stepping(16, 1000)) == []


def test_a_model_that_never_saw_chunks_has_no_range() -> None:
    (finding,) = untrained(replace(TRAINED, dynamic_chunk_training=False), stepping(16, 64))
    assert "--dynamic-chunk-training 1" in finding
