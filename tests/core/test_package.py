"""``import calve`` offers the Python API without importing it."""

from __future__ import annotations

import pytest

import calve


def test_the_version_is_that_of_the_installed_distribution():
    from importlib.metadata import version

    assert calve.__version__ == version("calve")


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        _ = calve.no_such_thing


def test_every_public_name_is_listed():
    assert {"load_model", "export", "open_session", "prepare", "train", "transcribe"} <= set(
        dir(calve)
    )


@pytest.mark.parametrize(
    "name", ["load_model", "export", "open_session", "prepare", "train", "transcribe"]
)
def test_public_functions_stay_functions_whatever_is_imported(run_python, name):
    """A submodule of the same name would take the function's place once it is imported."""
    script = (
        "import calve, pkgutil, importlib\n"
        "for module in pkgutil.iter_modules(calve.__path__):\n"
        "    importlib.import_module(f'calve.{module.name}')\n"
        f"import types; print(isinstance(calve.{name}, types.FunctionType))"
    )
    assert run_python("-c", script).stdout == "True\n"
