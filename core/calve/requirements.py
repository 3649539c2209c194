"""Whether what an installed distribution requires is there, found out without importing it."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import NamedTuple

__all__ = ["DistributionFacts", "facts_of", "unmet_requirement"]


class DistributionFacts(NamedTuple):
    """What the metadata of an installed distribution say.

    Attributes:
      name: Its name, or "unknown".
      version: Its version, or "unknown".
      requires: Its requirements, for example "calve>=1".
    """

    name: str = "unknown"
    version: str = "unknown"
    requires: tuple[str, ...] = ()


def facts_of(distribution: importlib.metadata.Distribution | None) -> DistributionFacts:
    """Read the few headers that matter.

    `importlib.metadata` parses the whole file as an e-mail message for each question, which costs
    more than loading a plugin does; the headers end at the first empty line.
    """
    text = distribution.read_text("METADATA") if distribution is not None else None
    if not text:
        return DistributionFacts()
    headers: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip():
            break
        key, _, value = line.partition(":")
        headers.setdefault(key.lower(), []).append(value.strip())
    return DistributionFacts(
        name=headers.get("name", ["unknown"])[0],
        version=headers.get("version", ["unknown"])[0],
        requires=tuple(headers.get("requires-dist", [])),
    )


def unmet_requirement(facts: DistributionFacts) -> str | None:
    """The first requirement that the environment does not meet, as a sentence; None if all are."""
    for text in facts.requires:
        complaint = _complaint(text)
        if complaint is not None:
            return complaint
    return None


@functools.cache
def _complaint(text: str) -> str | None:
    # Not at module level: only distributions other than calve are asked, and it takes 20 ms.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"its requirement {text!r} cannot be read"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        version = facts_of(importlib.metadata.distribution(requirement.name)).version
    except importlib.metadata.PackageNotFoundError:
        return f"it requires {requirement}, which is not installed"
    if version != "unknown" and not requirement.specifier.contains(version, prereleases=True):
        return f"it requires {requirement}, but {requirement.name} {version} is installed"
    return None
