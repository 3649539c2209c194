"""Cache of prediction network outputs. Contexts recur often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calve.data.tokens import SymbolTable
from calve.protocols import Session

__all__ = ["Context", "ContextCache", "silent_symbols"]

Float32Array = NDArray[np.float32]
Context = tuple[int, ...]
"""The latest symbols, as many as the decoder sees."""

_CAPACITY = 4096
"""Contexts remembered; with 512 numbers each they take 8 MiB."""


class ContextCache:
    """`Session.decode_context` that calls the network only for contexts it does not remember.

    Args:
      session: The networks.
      initial_symbol: Symbol before the first symbol, next to one blank. By default the same as in
        the session's real runtime.
    """

    def __init__(self, session: Session, initial_symbol: int | None = None) -> None:
        first = session.initial_symbol if initial_symbol is None else initial_symbol
        self.initial: Context = (first,) * (session.context_size - 1) + (session.blank_id,)
        """The context of a stream that has no symbol yet."""
        self._session = session
        self._rows: dict[Context, int] = {}
        self._table = np.empty((0, 0), dtype=np.float32)

    def after(self, symbols: Sequence[int]) -> Context:
        """Return the context after ``symbols``; `initial` if there are none."""
        latest = symbols[-len(self.initial) :]
        return (*self.initial, *latest)[len(latest) :]

    def __call__(self, contexts: Sequence[Context]) -> Float32Array:
        """The decoder's output (N, D') for N contexts."""
        missing = {context for context in contexts if context not in self._rows}
        if len(self._rows) + len(missing) > _CAPACITY:
            self._rows.clear()
            missing = set(contexts)
        if missing:
            self._remember(sorted(missing))
        return self._table[[self._rows[context] for context in contexts]]

    def _remember(self, contexts: list[Context]) -> None:
        decoder_out = self._session.decode_context(np.array(contexts, dtype=np.int64))
        start = len(self._rows)
        needed = start + len(contexts)
        if needed > len(self._table):
            rows = max(needed, min(2 * needed, _CAPACITY))
            grown = np.empty((rows, decoder_out.shape[1]), dtype=np.float32)
            if start:
                grown[:start] = self._table[:start]
            self._table = grown
        self._table[start:needed] = decoder_out
        self._rows.update(zip(contexts, range(start, needed), strict=True))


def silent_symbols(session: Session, symbols: SymbolTable | None) -> list[int]:
    """Return the symbols that are never emitted: blank, and ``<unk>`` as in k2-fsa's runtimes."""
    unk_id = None if symbols is None else symbols.unk_id
    return [session.blank_id] if unk_id is None else [session.blank_id, unk_id]
