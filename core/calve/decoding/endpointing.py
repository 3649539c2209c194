"""Endpoint detection in streams with sherpa's three rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from calve.common.ranges import Range, check_ranges

__all__ = ["EndpointRules"]


def _seconds(default: float, text: str) -> float:
    value: float = field(
        default=default, metadata={"help": text, "range": Range(0, 1e6, above_minimum=True)}
    )
    return value


@dataclass(frozen=True)
class EndpointRules:
    """Rules for the end of an utterance, with the names and defaults of sherpa-onnx.

    An utterance ends when any rule holds. Silence is time in which the search emits no symbol.
    """

    rule1_min_trailing_silence: float = _seconds(
        2.4, "Rule 1: seconds of silence after which an utterance ends, even if it is empty."
    )
    rule2_min_trailing_silence: float = _seconds(
        1.2, "Rule 2: seconds of silence after which an utterance that is not empty ends."
    )
    rule3_min_utterance_length: float = _seconds(
        20.0, "Rule 3: length in seconds at which an utterance ends."
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    def rule(self, length: float, trailing_silence: float | None) -> int | None:
        """Return the number of the first rule that ends the utterance.

        Args:
          length: Length of the utterance in seconds.
          trailing_silence: Seconds since its last symbol; None if it has none.

        Returns:
          1, 2 or 3; None if the utterance continues.
        """
        silence = length if trailing_silence is None else trailing_silence
        if silence >= self.rule1_min_trailing_silence:
            return 1
        if trailing_silence is not None and silence >= self.rule2_min_trailing_silence:
            return 2
        if length >= self.rule3_min_utterance_length:
            return 3
        return None
