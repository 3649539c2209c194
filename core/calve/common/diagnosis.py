"""Diagnoses: what ``calve doctor`` finds in an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Diagnosis"]


@dataclass(frozen=True)
class Diagnosis:
    """One line of ``calve doctor``.

    Attributes:
      subject: What was looked at, for example "torch" or "/dev/shm".
      outcome: "ok"; "warn" if something may not work or is slow; "missing" if it is not there.
      detail: What was found, in a few words: a version, a size.
      fix: What the person can do about it; None if there is nothing to do.
    """

    subject: str
    outcome: Literal["ok", "warn", "missing"]
    detail: str
    fix: str | None = None
