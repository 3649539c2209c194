"""Check the requirements of an installed distribution without importing it.

The few lines of ``METADATA`` that matter are parsed by hand: the general parser of
`importlib.metadata` reads every header of every plugin, which start-up would pay for.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["DistributionFacts", "facts_of", "missing_for_extra", "unmet_requirement"]

_PLAIN_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")
_PLAIN_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:>=\s*([0-9]+(?:\.[0-9]+)*))?")


class DistributionFacts(NamedTuple):
    """Facts from the metadata of an installed distribution.

    Attributes:
      name: Name, or "unknown".
      version: Version, or "unknown".
      requires: Requirements, for example "calve>=1".
    """

    name: str = "unknown"
    version: str = "unknown"
    requires: tuple[str, ...] = ()


@functools.cache
def facts_of(distribution: importlib.metadata.Distribution | None) -> DistributionFacts:
    """Read the required headers.

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
    """Describe the first unmet requirement in a sentence; None if all are met."""
    for text in facts.requires:
        complaint = _complaint(text)
        if complaint is not None:
            return complaint
    return None


def missing_for_extra(distribution: str, extra: str) -> list[str]:
    """Requirements of an extra that are missing or too old."""
    # Not at module level: it takes 20 ms, and start-up never asks.
    from packaging.requirements import Requirement

    requirements = map(Requirement, importlib.metadata.requires(distribution) or ())
    wanted = [
        requirement
        for requirement in requirements
        if requirement.marker is not None
        and requirement.marker.evaluate({"extra": extra})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    return [f"{one.name}{one.specifier}" for one in wanted if _is_missing(one)]


def _is_missing(requirement: Requirement) -> bool:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return not requirement.specifier.contains(version, prereleases=True)


def _is_plainly_met(text: str) -> bool:
    """Whether ``text`` is "name" or "name>=1.2", as most are, and obviously met.

    Only versions made of numbers alone are compared; everything else is left to `packaging`.
    """
    plain = _PLAIN_REQUIREMENT.fullmatch(text.strip())
    if plain is None:
        return False
    name, wanted = plain.groups()
    try:
        version = facts_of(importlib.metadata.distribution(name)).version
    except importlib.metadata.PackageNotFoundError:
        return False
    if wanted is None:
        return True
    return _PLAIN_VERSION.fullmatch(version) is not None and _release(version) >= _release(wanted)


def _release(version: str) -> list[int]:
    """Numbers of a version, without the zeros at its end, which mean nothing."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


@functools.cache
def _complaint(text: str) -> str | None:
    if _is_plainly_met(text):
        return None
    # Not at module level: it takes 20 ms, and hardly a requirement gets this far.
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
