"""Parity: numerical agreement of two runtimes on the same model.

Each session is *observed* on the same features: chained chunks with carried states, or whole
utterances; some decoder contexts; some joiner inputs; a greedy search. Two observations are then
compared. One of them may come from a file (`calve.bundles.golden`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calve.bundles.observation import Observation
from calve.errors import ExportError
from calve.protocols.sessions import WHOLE_UTTERANCES

__all__ = [
    "LIMITS",
    "OutputParity",
    "ParityReport",
    "compare",
]

Float32Array = NDArray[np.float32]

LIMITS = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2e-2}
"""Largest error allowed, by precision of the weights; see `_limit`.

Rounding to float16 was measured to cost 1e-3 of the largest value in a model of 84 million
parameters, and 7e-3 in a tiny random one. An int8 bundle is held to its own golden numbers: on
another processor an activation may round to the neighboring step. So is every other scheme that a
quantizer may have.
"""

_READ_BY_SEARCHES = frozenset(("encoder_out", "decoder_out", "logits"))


@dataclass(frozen=True)
class OutputParity:
    """Agreement on one output.

    Attributes:
      chunk_ms: Milliseconds per chunk; None for whole utterances.
      chunks: Number of chained chunks or whole utterances.
      output: Name of the output.
      max_abs_error: Largest absolute difference.
      limit: Largest absolute difference allowed.
      peak: Largest absolute value of the reference.
    """

    chunk_ms: int | None
    chunks: int
    output: str
    max_abs_error: float
    limit: float
    peak: float

    @property
    def observed(self) -> str:
        """Description of the observation."""
        return WHOLE_UTTERANCES if self.chunk_ms is None else f"chunks of {self.chunk_ms} ms"


@dataclass(frozen=True)
class ParityReport:
    """Agreement of a candidate with a reference.

    Attributes:
      precision: Precision of the candidate's weights, which sets the limits.
      outputs: One entry per output and chunk length.
      tokens: Greedy tokens of the candidate.
      reference_tokens: Greedy tokens of the reference.
    """

    precision: str
    outputs: tuple[OutputParity, ...]
    tokens: tuple[int, ...]
    reference_tokens: tuple[int, ...]

    @property
    def max_abs_error(self) -> float:
        """The largest error of all outputs."""
        return max(output.max_abs_error for output in self.outputs)

    @property
    def tokens_equal(self) -> bool:
        """Whether greedy search found the same symbols."""
        return self.tokens == self.reference_tokens

    def __add__(self, other: ParityReport) -> ParityReport:
        """Combine the reports of the same model for different chunk lengths."""
        return ParityReport(
            self.precision,
            self.outputs + other.outputs,
            self.tokens + other.tokens,
            self.reference_tokens + other.reference_tokens,
        )

    def check(self) -> None:
        """Check the limits.

        Raises:
          ExportError: if an error exceeds the limit, or the greedy tokens differ in fp32.
        """
        for output in self.outputs:
            # Written so that NaN, for which every comparison is false, is rejected too.
            if not output.max_abs_error <= output.limit:
                raise ExportError(
                    f"the export does not agree with torch: {output.output} is off by "
                    f"{output.max_abs_error:.1e} in {output.observed}, "
                    f"and {self.precision} allows {output.limit:.1e}"
                )
        if self.precision == "fp32" and not self.tokens_equal:
            raise ExportError(
                f"greedy search finds different symbols than in torch: {list(self.tokens)} "
                f"instead of {list(self.reference_tokens)}"
            )

    def check_quantized(self) -> None:
        """Check a newly quantized model.

        The size of the errors is not limited. The user judges it by the report and the error rate.

        Raises:
          ExportError: if the outputs are NaN or infinite, or if it finds nothing where the source
            does.
        """
        if not all(np.isfinite(output.max_abs_error) for output in self.outputs):
            raise ExportError(
                "the outputs of the quantized model for the golden recording are NaN or infinite"
            )
        if self.reference_tokens and not self.tokens:
            raise ExportError(
                "the quantized model finds nothing in the golden recording, where the source finds "
                f"{len(self.reference_tokens)} symbols",
                fix="keep more in fp16, or calibrate on more recordings",
            )

    def to_json(self) -> dict[str, Any]:
        """All attributes and conclusions, for ``bundle.json``."""
        return asdict(self) | {
            "max_abs_error": self.max_abs_error,
            "tokens_equal": self.tokens_equal,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ParityReport:
        """Inverse of `to_json`."""
        return cls(
            precision=values["precision"],
            outputs=tuple(OutputParity(**output) for output in values["outputs"]),
            tokens=tuple(values["tokens"]),
            reference_tokens=tuple(values["reference_tokens"]),
        )


def compare(reference: Observation, candidate: Observation, *, precision: str) -> ParityReport:
    """Compare two observations of the same features, made in the same way.

    States are compared if both sessions have them with the same name and size.

    Raises:
      ExportError: if an output of the candidate differs in size from the reference.
    """
    outputs = []
    for name, expected in reference.outputs.items():
        actual = candidate.outputs.get(name)
        if actual is None:
            continue
        if actual.size != expected.size:
            raise ExportError(
                f"{name} has the shape {actual.shape} instead of {expected.shape}",
                fix="the network was exported with other sizes than the model has",
            )
        error = float(np.abs(actual.reshape(-1) - expected.reshape(-1)).max())
        peak = float(np.abs(expected).max())
        limit = _limit(name, precision, peak)
        outputs.append(OutputParity(reference.chunk_ms, reference.chunks, name, error, limit, peak))
    return ParityReport(precision, tuple(outputs), candidate.tokens, reference.tokens)


def _limit(output: str, precision: str, peak: float) -> float:
    """Return the largest allowed error, which is absolute for what a search reads in fp32.

    The cells of an LSTM grow without bound over the chunks. On some processors, float32 rounding
    alone changes a cell of value 55 by 1.3e-4.
    """
    absolute = precision == "fp32" and output in _READ_BY_SEARCHES
    limit = LIMITS.get(precision, LIMITS["int8"])
    return limit * (1.0 if absolute else max(1.0, peak))
