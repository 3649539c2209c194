"""The ConvEmformer in calve's conformance kit, and what only this encoder promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from calve.api import ConfigError
from calve.testing import EncoderConformance, MetadataWriterConformance
from calve_conv_emformer_transducer.config import Config
from calve_conv_emformer_transducer.encoder import ConvEmformer
from calve_conv_emformer_transducer.past import PastOfAllChunks

ONE_LAYER = Config(
    num_encoder_layers=1,
    encoder_dim=12,
    dim_feedforward=16,
    cnn_module_kernel=3,
    nhead=2,
    chunk_length=16,
    right_context_length=8,
    left_context_length=3,
    memory_size=2,
)


class TestConvEmformer(EncoderConformance):
    encoder = "conv_emformer"


class TestSherpaMetadata(MetadataWriterConformance):
    encoder = "conv_emformer"
    format = "ncnn"
    recipe = "conv_emformer_transducer"


def chunks_that_change_with(heard: int, frame: int, config: Config = ONE_LAYER) -> list[int]:
    """Of ten chunks, those whose output depends on one frame of the chunk ``heard``.

    The last of them does so by its convolution, which sees the chunk before, and what that attended
    to.
    """
    torch.manual_seed(0)
    encoder = ConvEmformer(config).eval()
    seen = config.geometry.output_frames + config.geometry.right_context
    x = torch.randn(10, seen, config.encoder_dim)
    other = x.clone()
    other[heard, frame] = torch.randn(config.encoder_dim)
    with torch.no_grad():
        y, z = (
            encoder.encode(rows, PastOfAllChunks(encoder.init_states(1))) for rows in (x, other)
        )
    return [index for index in range(10) if not torch.allclose(y[index], z[index], atol=1e-7)]


def test_a_chunk_is_remembered_for_as_long_as_the_memory_is() -> None:
    assert chunks_that_change_with(4, frame=0) == [4, 5, 6, 7]
    longer = replace(ONE_LAYER, memory_size=4)
    assert chunks_that_change_with(4, frame=0, config=longer) == [4, 5, 6, 7, 8, 9]


def test_a_frame_is_in_the_left_context_of_the_chunks_after_it() -> None:
    longer = replace(ONE_LAYER, memory_size=1, left_context_length=9)
    assert chunks_that_change_with(4, frame=0, config=longer) == [4, 5, 6, 7]
    assert chunks_that_change_with(4, frame=3, config=longer) == [4, 5, 6, 7, 8]


def test_a_right_context_is_heard_with_its_chunk_and_not_remembered() -> None:
    chunk = ONE_LAYER.geometry.output_frames
    assert chunks_that_change_with(4, frame=chunk) == [4, 5]


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_length": 30},
        {"chunk_length": 0},
        {"right_context_length": 6},
        {"left_context_length": 0},
        {"memory_size": 0},
        {"cnn_module_kernel": 1},
        {"encoder_dim": 145},
    ],
)
def test_impossible_sizes_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Config(**options)
