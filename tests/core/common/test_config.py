"""Configuration: layers, types, texts, TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.common.config import (
    check_options,
    fields_help,
    load_toml,
    option_name,
    parse_text,
    resolve,
    value_text,
)
from calve.common.ranges import Range
from calve.common.references import Resource
from calve.errors import ConfigError


@dataclass(frozen=True)
class Options:
    layers: int
    dropout: float = 0.1
    causal: bool = True
    name: str = "lstm"
    folder: Path | None = None
    channels: tuple[int, ...] = (8, 32)
    shape: tuple[int, float] = (1, 2.0)
    mode: Literal["greedy", "beam"] = "greedy"
    words: list[str] = field(default_factory=list, metadata={"help": "Words to boost."})
    extra: Any = None

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError("there must be a layer")


def test_later_layers_win_over_earlier_ones():
    options = resolve(Options, {"layers": 1, "name": "a"}, {}, {"layers": 2})
    assert (options.layers, options.name, options.dropout) == (2, "a", 0.1)


def test_an_unknown_key_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match="Options has no option 'chanels'") as caught:
        resolve(Options, {"layers": 1, "chanels": (1,)})
    assert caught.value.fix == "did you mean 'channels'?"


def test_checked_options_are_named_with_the_place_where_they_stand():
    @dataclass
    class More:
        seed: int = 0

    check_options({"layers": 1, "seed": 2}, Options, More, place="mine.toml [encoder]")
    with pytest.raises(ConfigError, match=r"mine.toml \[encoder\] has no option 'chanels'"):
        check_options({"chanels": 1}, Options, More, place="mine.toml [encoder]")
    with pytest.raises(ConfigError, match="'two' is not an integer") as caught:
        check_options({"seed": "two"}, Options, More, place="mine.toml [encoder]")
    assert caught.value.where == "mine.toml [encoder].seed"


def test_missing_values_are_named():
    with pytest.raises(ConfigError, match="needs a value for layers"):
        resolve(Options, {"name": "x"})


def test_a_value_that_the_dataclass_refuses_is_a_configuration_error():
    with pytest.raises(ConfigError, match="there must be a layer"):
        resolve(Options, {"layers": 0})


@pytest.mark.parametrize(
    ("key", "given_value", "wanted"),
    [
        ("dropout", 1, 1.0),
        ("folder", "x/y", Path("x/y")),
        ("folder", None, None),
        ("channels", [1, 2, 3], (1, 2, 3)),
        ("channels", [], ()),
        ("shape", [3, 4], (3, 4.0)),
        ("words", ("a", "b"), ["a", "b"]),
        ("mode", "beam", "beam"),
        ("extra", {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_values_are_fitted_to_their_type(key, given_value, wanted):
    value = getattr(resolve(Options, {"layers": 1, key: given_value}), key)
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("layers", 1.0, "an integer"),
        ("layers", True, "an integer"),
        ("layers", "1", "an integer"),
        ("layers", None, "an integer"),
        ("dropout", "0.1", "a number"),
        ("dropout", False, "a number"),
        ("causal", 1, "a boolean"),
        ("name", 3, "a text"),
        ("folder", 3, "a path or none"),
        ("channels", 8, "a list of integer"),
        ("channels", [8, "x"], "an integer"),
        ("shape", [1], "a list of integer, number"),
        ("shape", [1, 2, 3], "a list of integer, number"),
        ("mode", "fast", "one of greedy, beam"),
        ("words", "abc", "a list of text"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_naming_the_option(key, value, expected):
    with pytest.raises(ConfigError) as caught:
        resolve(Options, {"layers": 1, key: value})
    assert caught.value.what.endswith(f" is not {expected}")
    assert caught.value.where == f"Options.{key}"


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("3", int, 3),
        ("-1", int, -1),
        ("1e-3", float, 1e-3),
        ("True", bool, True),
        ("0", bool, False),
        ("no", bool, False),
        ("a,b", str, "a,b"),
        ("x/y", Path, Path("x/y")),
        ("none", int | None, None),
        ("5", int | None, 5),
        ("8, 32,128", tuple[int, ...], (8, 32, 128)),
        ("", tuple[int, ...], ()),
        ("2,0.5", tuple[int, float], (2, 0.5)),
        ("a,b", list[str], ["a", "b"]),
        ("beam", Literal["greedy", "beam"], "beam"),
        ("2", Literal[1, 2], 2),
    ],
)
def test_texts_are_read_as_their_type(text, annotation, value):
    assert parse_text(text, annotation) == value


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("x", int),
        ("1.5", int),
        ("x", float),
        ("maybe", bool),
        ("maybe", bool | None),
        ("none", int),
        ("x", int | None),
        ("1,x", tuple[int, ...]),
        ("1", tuple[int, float]),
        ("fast", Literal["greedy", "beam"]),
    ],
)
def test_other_texts_are_refused(text, annotation):
    with pytest.raises(ValueError, match="is not"):
        parse_text(text, annotation)


@pytest.mark.parametrize(
    ("value", "text", "annotation"),
    [
        (True, "1", bool),
        (False, "0", bool),
        (None, "none", int | None),
        ((True, False), "1,0", tuple[bool, ...]),
        (Path("x/y"), "x/y", Path),
    ],
)
def test_a_value_is_shown_as_it_is_typed(value, text, annotation):
    assert value_text(value) == text
    assert parse_text(text, annotation) == value


def test_an_option_is_shown_as_it_is_typed():
    assert option_name("rnn_hidden_size") == "--rnn-hidden-size"


@given(st.lists(st.integers(), min_size=1))
def test_a_shown_tuple_is_read_back(numbers):
    assert parse_text(value_text(numbers), tuple[int, ...]) == tuple(numbers)


@given(st.floats(allow_nan=False))
def test_a_shown_number_is_read_back(number):
    assert parse_text(value_text(number), float) == number


def test_the_entries_of_a_table_are_checked_as_well() -> None:
    @dataclass
    class Sizes:
        by_name: dict[str, int | str] = field(default_factory=dict)

    assert resolve(Sizes, {"by_name": {"a": 1, "b": "two"}}) == Sizes({"a": 1, "b": "two"})
    for wrong in ({"a": 1.5}, {1: 1}, [1]):
        with pytest.raises(ConfigError) as caught:
            resolve(Sizes, {"by_name": wrong})
        assert "Sizes.by_name" in (caught.value.where or "")


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.booleans())))
def test_no_mapping_makes_resolve_fail_otherwise_than_as_a_configuration_error(values):
    try:
        options = resolve(Options, {"layers": 1}, values)
    except ConfigError:
        return
    assert isinstance(options, Options)


def test_fields_help_tells_name_type_default_and_help():
    fields = {f.name: f for f in fields_help(Options)}
    assert list(fields) == list(Options.__dataclass_fields__)
    assert fields["layers"].required
    assert not fields["words"].required
    assert fields["words"].default == []
    assert fields["words"].help == "Words to boost."
    assert fields["folder"].type_name == "path or none"


def test_toml_is_read_from_a_file_and_from_a_package(tmp_path, monkeypatch):
    package = tmp_path / "toml_package_of_calve_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "recipe.toml").write_text('[encoder]\nname = "lstm"\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    wanted = {"encoder": {"name": "lstm"}}
    assert load_toml(package / "recipe.toml") == wanted
    assert load_toml(Resource("toml_package_of_calve_tests", "recipe.toml")) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = \n", r"(?s)not valid TOML.*line 1.*bad\.toml"),
        (b"a = '\xff'\n", r"(?s)not UTF-8.*bad\.toml"),
        (None, r"(?s)there is no such configuration.*bad\.toml"),
        (b"a = " + b"[" * 100_000, r"(?s)nested too deeply.*bad\.toml"),
    ],
)
def test_a_bad_toml_file_is_an_error_naming_it(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_toml(path)


def test_a_toml_file_that_windows_saved_is_read(tmp_path):
    (tmp_path / "own.toml").write_bytes('\ufeff[encoder]\r\nname = "lstm"\r\n'.encode())
    assert load_toml(tmp_path / "own.toml") == {"encoder": {"name": "lstm"}}


@dataclass(frozen=True)
class Limited:
    share: float = field(default=0.5, metadata={"range": Range(0, 1)})
    rate: float = field(default=1.0, metadata={"range": Range(0, 10, above_minimum=True)})
    sizes: tuple[int, ...] = field(default=(1,), metadata={"range": Range(1, 64)})
    states: dict[str, list[int]] = field(default_factory=dict, metadata={"range": Range(1, 64)})
    flag: bool = field(default=True, metadata={"range": Range(5, 6)})
    free: float = 0.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"share": -2.0}, "share is -2.0; it must be from 0 to 1"),
        ({"share": float("nan")}, "share is nan; it must be from 0 to 1"),
        ({"rate": 0}, "rate is 0.0; it must be above 0 and at most 10"),
        ({"sizes": [3, 65]}, "sizes is 65; it must be from 1 to 64"),
        ({"states": {"hidden": [2, 0]}}, "states is 0; it must be from 1 to 64"),
        ({"free": float("inf")}, "free is inf; it must be"),
        ({"free": 10**400}, "free is inf; it must be"),
        ({"sizes": [10**5000]}, "sizes is a number with thousands of digits; it must be"),
    ],
)
def test_a_number_outside_of_its_field_s_range_is_refused_with_the_range(values, said):
    with pytest.raises(ConfigError) as caught:
        resolve(Limited, values)
    assert caught.value.what.startswith(said)
    assert caught.value.where == f"Limited.{next(iter(values))}"


@pytest.mark.parametrize(
    "values",
    [{"share": 0}, {"share": 1.0}, {"rate": 10}, {"sizes": (1, 64)}, {"flag": False}],
)
def test_the_ends_of_a_range_belong_to_it(values):
    (name,) = values
    assert getattr(resolve(Limited, values), name) == values[name]
