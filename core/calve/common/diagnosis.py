"""Diagnoses of an environment by ``calve doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Diagnosis"]


@dataclass(frozen=True)
class Diagnosis:
    """One line of ``calve doctor``.

    Attributes:
      subject: The examined item, for example "torch" or "/dev/shm".
      outcome: "ok"; "warn" if something may not work or is slow; "missing" if it does not exist.
      detail: The finding in a few words: a version, a size.
      fix: The remedy; None if nothing has to be done.
    """

    subject: str
    outcome: Literal["ok", "warn", "missing"]
    detail: str
    fix: str | None = None
