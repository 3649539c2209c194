"""Options of the fast beam searches, importable without their compiled functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

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
        metadata={"help": "Largest difference from the best log probability."},
    )
    max_contexts: int = field(
        default=8, metadata={"help": "Largest number of decoder contexts of one stream."}
    )
    max_states: int = field(
        default=64, metadata={"help": "Largest number of pairs of a context and a graph state."}
    )
    temperature: float = field(
        default=1.0,
        metadata={"help": "Divides the logits; values above 1 flatten the distribution."},
    )
    blank_penalty: float = field(
        default=0.0,
        metadata={"help": "Subtracted from the blank's logit; higher values give fewer deletions."},
    )
    ilme_scale: float = field(
        default=0.0,
        metadata={"help": "Scale of the model's internal language model, which is subtracted."},
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
        for name in ("beam", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("max_contexts", "max_states"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class FastBeamSearchLGOptions(FastBeamSearchOptions):
    """Options of `fast_beam_search_LG`."""

    LG: Path | DecodingGraph = field(metadata={"help": "The graph, an LG.npz file."})
    ngram_lm_scale: float = field(default=0.01, metadata={"help": "Scale of the graph scores."})


@dataclass(frozen=True, kw_only=True)
class _Drawing(FastBeamSearchOptions):
    """How paths are drawn from a lattice."""

    num_paths: int = field(default=200, metadata={"help": "Number of sampled paths."})
    nbest_scale: float = field(
        default=0.5,
        metadata={
            "help": "Scale of the scores for sampling; lower values give more diverse paths."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_paths < 1:
            raise ValueError(f"num_paths is {self.num_paths}; it must be at least 1")
        if not self.nbest_scale > 0:
            raise ValueError(f"nbest_scale is {self.nbest_scale}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class NbestOptions(_Drawing):
    """Options of `fast_beam_search_nbest` and `fast_beam_search_nbest_oracle`."""

    # icefall leaves this at 0.1 in these two methods, and at 0 in the others.
    ilme_scale: float = field(
        default=0.1,
        metadata={"help": "Scale of the model's internal language model, which is subtracted."},
    )


@dataclass(frozen=True, kw_only=True)
class NbestLGOptions(_Drawing, FastBeamSearchLGOptions):
    """Options of `fast_beam_search_nbest_LG`."""
