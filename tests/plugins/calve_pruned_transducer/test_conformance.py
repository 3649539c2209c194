"""Both generations of the conformer in the conformance kit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calve.testing import EncoderConformance, MetadataWriterConformance


def attended_in_chunks(encoder: Any, x: torch.Tensor) -> torch.Tensor:
    """What streaming sees: chunks that are counted from the front end's second frame."""
    geometry = encoder.geometry
    embedded = encoder.encoder_embed(x)[:, 1:]
    lens = torch.full((x.size(0),), embedded.size(1))
    y, _ = encoder.encode_in_chunks(
        embedded, lens, chunk_size=geometry.output_frames, left_context=geometry.left_context
    )
    return y


class TestReworkedConformer(EncoderConformance):
    encoder = "conformer"
    recipe = "pruned_transducer_stateless2"

    def whole(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        return attended_in_chunks(encoder, x)

    def sees_padding(self, frames: int) -> bool:
        # The front end pads by one frame, which an utterance of such a length reaches.
        return frames % 4 == 3

    @pytest.mark.slow
    def test_a_claimed_format_works_and_only_claimed_clients_open_it(
        self, format_name: str
    ) -> None:
        super().test_a_claimed_format_works_and_only_claimed_clients_open_it(format_name)


class TestPlainConformer(EncoderConformance):
    encoder = "plain_conformer"

    def whole(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        return attended_in_chunks(encoder, x)

    @pytest.mark.slow
    def test_a_claimed_format_works_and_only_claimed_clients_open_it(
        self, format_name: str
    ) -> None:
        super().test_a_claimed_format_works_and_only_claimed_clients_open_it(format_name)


class _Metadata(MetadataWriterConformance):
    """Both generations have the same writers."""

    encoder = "conformer"
    recipe = "pruned_transducer_stateless5"


class TestNcnnMetadata(_Metadata):
    format = "ncnn"


class TestOnnxMetadata(_Metadata):
    format = "onnx"


class TestScriptMetadata(_Metadata):
    format = "jit-script"
