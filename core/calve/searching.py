"""Decoding methods by name."""

from __future__ import annotations

from typing import Any

from calve.config import resolve
from calve.protocols import Search, Session

__all__ = ["DEFAULT_SEARCH", "make_search"]

DEFAULT_SEARCH = "greedy_search"


def make_search(
    method: str,
    session: Session,
    *,
    unk_id: int | None = None,
    initial_symbol: int | None = None,
    **options: Any,
) -> Search:
    """Bind a decoding method to a session.

    Args:
      method: Name of a registered search.
      session: The networks.
      unk_id: A symbol that is never emitted; None for no such symbol.
      initial_symbol: What the decoder sees before the first symbol, next to one blank: the blank
        as well, or -1 for nothing at all; by default what the session's real runtime does.
      **options: The method's own options.

    Raises:
      PluginError: if no plugin provides the method.
      ConfigError: if an option is unknown or wrong.
    """
    from calve.registry import registry

    spec = registry().searches.get(method)
    search: Search = spec.search.load()(
        session,
        resolve(spec.options.load(), options),
        unk_id=unk_id,
        initial_symbol=initial_symbol,
    )
    return search
