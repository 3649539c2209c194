"""Requirements of a distribution are read from its metadata alone."""

from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from calve.registry.requirements import (
    DistributionFacts,
    _is_plainly_met,
    facts_of,
    missing_for_extra,
    unmet_requirement,
)


def _unmet(*requires):
    return unmet_requirement(DistributionFacts("acme", "1", requires))


@pytest.mark.parametrize(
    "requirement",
    [
        "click",
        "Click>=8",
        "calve[test]>=0.1",
        "no-such-package; extra == 'all'",
        "no-such-package; python_version < '3'",
        "pluggy @ https://example.org/pluggy.whl",
    ],
)
def test_met(requirement):
    assert _unmet(requirement) is None


@pytest.mark.parametrize(
    ("requirement", "complaint"),
    [
        ("click<1", "it requires click<1, but click 8"),
        ("calve>=99", "it requires calve>=99, but calve"),
        ("no-such-package>=1", "it requires no-such-package>=1, which is not installed"),
        ("?? what", "cannot be read"),
    ],
)
def test_unmet(requirement, complaint):
    assert complaint in _unmet("pluggy", requirement)


_RELEASES = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(
    lambda numbers: ".".join(map(str, numbers))
)


@given(_RELEASES, _RELEASES)
def test_the_shortcut_for_plain_versions_agrees_with_packaging(installed, wanted):
    facts = DistributionFacts("click", installed, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calve.registry.requirements.facts_of", lambda distribution: facts)
        met = _is_plainly_met(f"click>={wanted}")
    assert met == SpecifierSet(f">={wanted}").contains(installed)


@pytest.mark.parametrize("text", ["click<9", "click>=8,<9", "click; extra == 'x'", "click[x]"])
def test_whatever_is_not_plain_is_left_to_packaging(text):
    assert not _is_plainly_met(text)


def test_facts_agree_with_importlib_metadata():
    for name in ("calve", "click", "pytest", "rich"):
        distribution = importlib.metadata.distribution(name)
        facts = facts_of(distribution)
        assert (facts.name, facts.version) == (distribution.name, distribution.version)
        assert list(facts.requires) == (distribution.requires or [])


def test_a_distribution_without_metadata_is_unknown():
    assert facts_of(None) == DistributionFacts("unknown", "unknown", ())


def test_an_extra_misses_what_is_absent_or_too_old(monkeypatch):
    requires = [
        "click",
        "click>=8; extra == 'all'",
        "click>=99; extra == 'all'",
        "no-such-package>=1; extra == 'all'",
        "no-such-package>=2; extra == 'other'",
        "no-such-package>=3; extra == 'all' and python_version < '3'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda distribution: requires)
    assert missing_for_extra("acme", "all") == ["click>=99", "no-such-package>=1"]
    assert missing_for_extra("acme", "none") == []
