"""How work says how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress"]


class Progress(Protocol):
    """How long work says how far it is; calve's implementation draws a bar on stderr."""

    def start(self, title: str, total: int | None = None) -> None:
        """Work begins; what was under way is over. ``total`` is how much there is, if known."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """So much more is done; ``note`` is shown beside the bar."""

    def finish(self) -> None:
        """The work is done; nothing happens if none is under way."""

    def abandon(self) -> None:
        """The work ends before its end; nothing happens if none is under way."""
