"""Symbol sequences that grow at the end and share their prefixes."""

from __future__ import annotations

from typing import Any

__all__ = ["Path"]


class Path:
    """The symbols that a hypothesis has emitted, each with its frame.

    Paths are equal if their symbols are equal; frames do not count. Appending takes constant time.
    So does a comparison, except for the part of two equal paths that was built separately.

    Args:
      rest: All symbols except the last; None for an empty path.
      symbol: The last symbol.
      frame: The encoder frame that emitted it.
    """

    __slots__ = ("_hash", "frame", "length", "rest", "symbol")

    def __init__(self, rest: Path | None = None, symbol: int = -1, frame: int = -1) -> None:
        self.rest = rest
        self.symbol = symbol
        self.frame = frame
        self.length: int = 0 if rest is None else rest.length + 1
        self._hash: int = hash((None if rest is None else rest._hash, symbol))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        if self._hash != other._hash or self.length != other.length:
            return False
        one: Path | None = self
        two: Path | None = other
        while one is not two and one is not None and two is not None:
            if one.symbol != two.symbol:
                return False
            one, two = one.rest, two.rest
        return True

    @property
    def last_frame(self) -> int | None:
        """The frame of the last symbol; None if there is none."""
        return None if self.rest is None else self.frame

    def symbols_and_frames(self) -> tuple[list[int], list[int]]:
        """Return the symbols and their frames, from first to last."""
        symbols, frames = [], []
        path = self
        while path.rest is not None:
            symbols.append(path.symbol)
            frames.append(path.frame)
            path = path.rest
        return symbols[::-1], frames[::-1]
