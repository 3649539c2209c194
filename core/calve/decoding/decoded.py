"""Results of decoding several utterances."""

from __future__ import annotations

from dataclasses import dataclass, field

from calve.data.geometry import StreamingGeometry
from calve.data.tokens import SymbolTable
from calve.data.utterances import Failure, Utterance
from calve.decoding.transcript import recognition
from calve.errors import CalveError
from calve.protocols import Hypothesis
from calve.scoring.error_rates import DecodedUtterance, Score, score

__all__ = ["Decoded"]


@dataclass
class Decoded:
    """The results of some utterances.

    Attributes:
      utterances: The decoded utterances.
      failures: The utterances that failed, each with its error.
    """

    utterances: list[DecodedUtterance] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def score(self, unit: str) -> Score:
        """Score the decoded utterances, in the order of their names."""
        return score(sorted(self.utterances, key=lambda one: one.name), unit)

    def add(
        self,
        utterance: Utterance,
        outcome: Hypothesis | CalveError,
        symbols: SymbolTable,
        geometry: StreamingGeometry,
    ) -> None:
        """Add a hypothesis, or the error instead of it."""
        if isinstance(outcome, CalveError):
            self.failures.append(Failure(utterance.name, outcome.what))
            return
        found = recognition(outcome, symbols, geometry)
        reference = utterance.text or ""
        self.utterances.append(
            DecodedUtterance(utterance.name, reference, found.text, found.word_timestamps)
        )
