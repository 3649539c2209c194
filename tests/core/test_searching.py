"""Decoding methods by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from calve.errors import ConfigError, PluginError
from calve.searching import make_search

SESSION = SimpleNamespace(blank_id=0, initial_symbol=0, context_size=2, vocab_size=5)


def test_a_method_is_found_by_its_name_and_bound_to_the_session():
    search = make_search("greedy_search", SESSION, unk_id=2, max_sym_per_frame=3)
    assert search.result(search.start()).tokens == []


def test_a_method_that_nobody_provides_is_refused_with_a_suggestion():
    with pytest.raises(PluginError) as caught:
        make_search("greedy_serch", SESSION)
    assert caught.value.fix == "did you mean 'greedy_search'?"


def test_an_option_that_the_method_does_not_have_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        make_search("greedy_search", SESSION, max_sym_per_frme=2)
    assert caught.value.fix == "did you mean 'max_sym_per_frame'?"


def test_an_option_of_the_wrong_type_or_size_is_refused():
    with pytest.raises(ConfigError, match="max_sym_per_frame"):
        make_search("greedy_search", SESSION, max_sym_per_frame="many")
    with pytest.raises(ConfigError, match="at least 1"):
        make_search("greedy_search", SESSION, max_sym_per_frame=0)
