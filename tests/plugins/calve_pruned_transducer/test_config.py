"""The conformer's options: what is impossible, and what shapes tell."""

from __future__ import annotations

from typing import Any

import pytest

from calve.errors import ConfigError
from calve_pruned_transducer.builders import plain_conformer, reworked_conformer
from calve_pruned_transducer.config import ConformerConfig, infer_config


@pytest.mark.parametrize("build", [plain_conformer, reworked_conformer])
def test_sizes_are_inferred_from_shapes(build: Any) -> None:
    config = ConformerConfig(
        num_encoder_layers=2, encoder_dim=12, nhead=3, dim_feedforward=20, cnn_module_kernel=7
    )
    shapes = {key: tuple(value.shape) for key, value in build(config).state_dict().items()}
    inferred = infer_config(shapes)
    assert inferred == {name: getattr(config, name) for name in inferred}
    assert len(inferred) == 5


def test_nothing_is_inferred_from_another_models_shapes() -> None:
    assert infer_config({"something.weight": (3, 4)}) == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_encoder_layers": 0}, "num_encoder_layers is 0"),
        ({"encoder_dim": 20, "nhead": 3}, "not an even multiple of nhead 3"),
        ({"encoder_dim": 12, "nhead": 4}, "not an even multiple of nhead 4"),
        ({"cnn_module_kernel": 30}, "it must be odd"),
        ({"decode_chunk_size": 0}, "decode_chunk_size is 0"),
        ({"left_context": -1}, "left_context is -1"),
        ({"short_chunk_size": 0}, "short_chunk_size is 0"),
        ({"num_left_chunks": -2}, "num_left_chunks is -2"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConformerConfig(**wrong)  # type: ignore[arg-type]


def test_the_geometry_follows_the_chunk_and_its_context() -> None:
    config = ConformerConfig(
        num_encoder_layers=1,
        encoder_dim=8,
        nhead=2,
        dim_feedforward=8,
        decode_chunk_size=8,
        left_context=32,
        right_context=2,
    )
    geometry = reworked_conformer(config).geometry
    assert (geometry.shift, geometry.segment) == (32, 51)
    assert (geometry.left_context, geometry.right_context) == (32, 2)
    assert geometry.output_frames == 8
    assert not geometry.dynamic
