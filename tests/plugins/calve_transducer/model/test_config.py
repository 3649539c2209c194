"""What a checkpoint's shapes say about the decoder and the joiner."""

from __future__ import annotations

import pytest

from calve_transducer.model.config import TransducerConfig, infer_config
from calve_transducer.model.decoder import StatelessDecoder
from calve_transducer.model.joiner import Joiner


@pytest.mark.parametrize("context_size", [1, 2, 5])
def test_sizes_are_inferred_from_shapes(context_size: int) -> None:
    config = TransducerConfig(vocab_size=7, context_size=context_size, decoder_dim=6, joiner_dim=5)
    decoder = StatelessDecoder(7, decoder_dim=6, blank_id=0, context_size=context_size)
    joiner = Joiner(encoder_dim=4, decoder_dim=6, joiner_dim=5, vocab_size=7)
    shapes = {
        f"{name}.{key}": tuple(value.shape)
        for name, network in (("decoder", decoder), ("joiner", joiner))
        for key, value in network.state_dict().items()
    }
    assert TransducerConfig(**infer_config(shapes)) == config


def test_nothing_is_inferred_from_another_models_shapes() -> None:
    assert infer_config({"something.weight": (3, 4)}) == {}
