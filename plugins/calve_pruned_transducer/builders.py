"""Builders of the two generations of the conformer."""

from __future__ import annotations

from calve_pruned_transducer.blocks import PLAIN_BLOCKS, REWORKED_BLOCKS
from calve_pruned_transducer.config import ConformerConfig
from calve_pruned_transducer.encoder import ConformerEncoder

__all__ = ["plain_conformer", "reworked_conformer"]


def plain_conformer(config: ConformerConfig) -> ConformerEncoder:
    """The conformer of ``pruned_transducer_stateless``."""
    return ConformerEncoder(config, PLAIN_BLOCKS)


def reworked_conformer(config: ConformerConfig) -> ConformerEncoder:
    """The conformer of ``pruned_transducer_stateless2`` and later."""
    return ConformerEncoder(config, REWORKED_BLOCKS)
