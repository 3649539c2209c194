"""Decoding methods with their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calve.decoding.decoding_methods import DecodingMethod, choose_decoding_methods
from calve.errors import ConfigError, PluginError

pytestmark = pytest.mark.usefixtures("bundled_plugins")


def test_a_method_is_called_by_its_name_and_what_is_not_default():
    assert DecodingMethod.default().key == "greedy_search"
    assert DecodingMethod("greedy_search", {"max_sym_per_frame": 1}).key == "greedy_search"
    several = DecodingMethod("greedy_search", {"max_sym_per_frame": 3})
    assert several.key == "greedy_search_max_sym_per_frame_3"


@pytest.mark.parametrize(
    ("method", "options", "key"),
    [
        ("fast_beam_search_LG", {"LG": Path("lang/LG.npz")}, "fast_beam_search_LG"),
        ("fast_beam_search_LG", {"LG": Path("3gram.npz")}, "fast_beam_search_LG_3gram"),
        (
            "fast_beam_search_nbest_LG",
            {"LG": Path("LG.npz"), "num_paths": 20},
            "fast_beam_search_nbest_LG_num_paths_20",
        ),
        ("modified_beam_search", {"beam": 8}, "modified_beam_search_beam_8"),
    ],
)
def test_what_the_methods_name_says_is_not_said_again(
    method: str, options: dict[str, Any], key: str
):
    assert DecodingMethod(method, options).key == key


def test_each_method_gets_the_options_that_it_has():
    assert choose_decoding_methods(
        ["greedy_search", "greedy_search"], {"max_sym_per_frame": 3}
    ) == [DecodingMethod("greedy_search", {"max_sym_per_frame": 3})]


def test_an_option_goes_to_every_method_that_has_it_and_to_no_other():
    chosen = choose_decoding_methods(
        ["greedy_search", "modified_beam_search", "beam_search"], {"beam": 8}
    )
    assert chosen == [
        DecodingMethod("greedy_search"),
        DecodingMethod("modified_beam_search", {"beam": 8}),
        DecodingMethod("beam_search", {"beam": 8}),
    ]


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(PluginError, match="gready_search") as caught:
        choose_decoding_methods(["gready_search"], {})
    assert caught.value.fix.startswith("did you mean 'greedy_search'")


def test_an_option_of_another_method_is_refused():
    with pytest.raises(ConfigError, match="--hot-air is not an option of greedy_search"):
        choose_decoding_methods(["greedy_search"], {"hot_air": 3})


def test_a_wrong_value_is_refused():
    with pytest.raises(ConfigError, match="it must be from 1 to 100"):
        choose_decoding_methods(["greedy_search"], {"max_sym_per_frame": 0})
