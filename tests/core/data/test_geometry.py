"""The steps of streaming encoders over feature frames."""

from __future__ import annotations

import pytest

from calve.data.geometry import FLUSH_FRAMES, StreamingGeometry, tail_padding
from calve.errors import ConfigError

GEOMETRY = StreamingGeometry(shift=32, overlap=13, subsampling_factor=4)


def test_sizes_of_a_step():
    assert GEOMETRY.segment == 45
    assert GEOMETRY.output_frames == 8
    assert GEOMETRY.frame_ms == 40
    assert GEOMETRY.chunk_ms == 320


@pytest.mark.parametrize(("features", "encoded"), [(0, 0), (13, 0), (16, 0), (17, 1), (45, 8)])
def test_encoder_frames_of_a_stream(features: int, encoded: int):
    assert GEOMETRY.frames_in(features) == encoded


def test_a_step_can_be_given_in_milliseconds_or_encoder_frames():
    assert GEOMETRY.with_chunk_ms(640).shift == 64
    assert GEOMETRY.with_chunk_size(16) == GEOMETRY.with_chunk_ms(640)
    assert GEOMETRY.with_chunk_size(None) is GEOMETRY


@pytest.mark.parametrize(("chunk_ms", "fix"), [(100, "try 80"), (0, "try 40"), (-40, "try 40")])
def test_a_step_of_no_whole_frame_is_refused(chunk_ms: int, fix: str):
    with pytest.raises(ConfigError, match="not a positive multiple of 40 ms") as caught:
        GEOMETRY.with_chunk_ms(chunk_ms)
    assert caught.value.fix == fix


def test_a_network_of_fixed_shape_has_one_step():
    fixed = StreamingGeometry(shift=32, overlap=13, subsampling_factor=4, dynamic=False)
    assert fixed.with_chunk_ms(320) is fixed
    with pytest.raises(ConfigError, match="steps 320 ms at a time, not 640"):
        fixed.with_chunk_ms(640)


@pytest.mark.parametrize(
    ("shift", "overlap", "factor"), [(0, 5, 4), (30, 5, 4), (-4, 5, 4), (32, -1, 4), (32, 5, 0)]
)
def test_impossible_geometries_are_refused(shift: int, overlap: int, factor: int):
    with pytest.raises(ConfigError):
        StreamingGeometry(shift=shift, overlap=overlap, subsampling_factor=factor)


@pytest.mark.parametrize("shift", [4, 32, 64])
def test_the_padding_covers_overlap_and_flush_in_whole_steps(shift: int):
    geometry = StreamingGeometry(shift=shift, overlap=13, subsampling_factor=4)
    padding = tail_padding(geometry)
    assert padding % shift == 0
    assert 13 + FLUSH_FRAMES <= padding < 13 + FLUSH_FRAMES + shift


def test_json_holds_every_attribute():
    assert StreamingGeometry(**GEOMETRY.to_json()) == GEOMETRY
