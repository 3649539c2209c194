"""Requirements of a distribution are read from its metadata alone."""

from __future__ import annotations

import importlib.metadata

import pytest

from calve.requirements import DistributionFacts, facts_of, unmet_requirement


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


def test_facts_agree_with_importlib_metadata():
    for name in ("calve", "click", "pytest", "rich"):
        distribution = importlib.metadata.distribution(name)
        facts = facts_of(distribution)
        assert (facts.name, facts.version) == (distribution.name, distribution.version)
        assert list(facts.requires) == (distribution.requires or [])


def test_a_distribution_without_metadata_is_unknown():
    assert facts_of(None) == DistributionFacts("unknown", "unknown", ())
