"""Options of the fast beam searches, importable without their compiled functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calve.api import Range, check_ranges
from calve_graphs.graph import DecodingGraph

__all__ = [
    "FastBeamSearchLGOptions",
    "FastBeamSearchOptions",
    "NbestLGOptions",
    "NbestOptions",
]


@dataclass(frozen=True, kw_only=True)
class FastBeamSearchOptions:
    """Options of `fast_beam_search`."""

    beam: float = field(
        default=20.0,
        metadata={
            "help": "Largest difference from the best log probability.",
            "range": Range(0, 1000, above_minimum=True),
        },
    )
    max_contexts: int = field(
        default=8,
        metadata={
            "help": "Largest number of decoder contexts of one stream.",
            "range": Range(1, 1000),
        },
    )
    max_states: int = field(
        default=64,
        metadata={
            "help": "Largest number of pairs of a context and a graph state.",
            "range": Range(1, 100_000),
        },
    )
    temperature: float = field(
        default=1.0,
        metadata={
            "help": "Divides the logits; values above 1 flatten the distribution.",
            "range": Range(0.001, 1000),
        },
    )
    blank_penalty: float = field(
        default=0.0,
        metadata={
            "help": "Subtracted from the blank's logit; higher values give fewer deletions.",
            "range": Range(-1000, 1000),
        },
    )
    ilme_scale: float = field(
        default=0.0,
        metadata={
            "help": "Scale of the model's internal language model, which is subtracted.",
            "range": Range(-1000, 1000),
        },
    )
    allow_partial: bool = field(
        default=False,
        metadata={"help": "Accept a sentence that does not end in the graph after the last frame."},
    )
    fsa_backend: str = field(
        default="calve",
        metadata={"help": "FSA backend: calve, k2, or k2-elsewhere."},
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class FastBeamSearchLGOptions(FastBeamSearchOptions):
    """Options of `fast_beam_search_LG`."""

    LG: Path | DecodingGraph = field(metadata={"help": "The graph, an LG.npz file."})
    ngram_lm_scale: float = field(
        default=0.01, metadata={"help": "Scale of the graph scores.", "range": Range(-1000, 1000)}
    )


@dataclass(frozen=True, kw_only=True)
class _Drawing(FastBeamSearchOptions):
    """Options for sampling paths from a lattice."""

    num_paths: int = field(
        default=200, metadata={"help": "Number of sampled paths.", "range": Range(1, 10_000)}
    )
    nbest_scale: float = field(
        default=0.5,
        metadata={
            "help": "Scale of the scores for sampling; lower values give more diverse paths.",
            "range": Range(0.001, 1000),
        },
    )


@dataclass(frozen=True, kw_only=True)
class NbestOptions(_Drawing):
    """Options of `fast_beam_search_nbest` and `fast_beam_search_nbest_oracle`."""

    # icefall leaves this at 0.1 in these two methods, and at 0 in the others.
    ilme_scale: float = field(
        default=0.1,
        metadata={
            "help": "Scale of the model's internal language model, which is subtracted.",
            "range": Range(-1000, 1000),
        },
    )


@dataclass(frozen=True, kw_only=True)
class NbestLGOptions(_Drawing, FastBeamSearchLGOptions):
    """Options of `fast_beam_search_nbest_LG`."""
