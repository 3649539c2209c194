"""The scaffold: writes a distribution with a small working encoder as a starting point."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from packaging.version import Version

from calve.common.files import atomic_dir
from calve.errors import ConfigError
from calve.registry.catalog import build_registry

__all__ = ["write_plugin"]

_PLACES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "src/__init__.py.in": "src/@name@/__init__.py",
    "src/plugin.py.in": "src/@name@/plugin.py",
    "src/config.py.in": "src/@name@/config.py",
    "src/encoder.py.in": "src/@name@/encoder.py",
    "src/metadata.py.in": "src/@name@/metadata.py",
    "src/recipe.toml.in": "src/@name@/recipe.toml",
    "tests/test_plugin.py.in": "tests/test_@name@.py",
    "workflows/test.yml.in": ".github/workflows/test.yml",
}
"""The path of each template in the new distribution."""

_NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")


def write_plugin(name: str, folder: Path | None = None) -> list[Path]:
    """Write a complete distribution whose encoder is called ``name``.

    Args:
      name: Name of the encoder and of its package; dashes become underscores.
      folder: Target directory, by default named like the encoder. It must not exist.

    Returns:
      The files, relative to the folder.

    Raises:
      ConfigError: if the folder exists, or if the name is invalid or in use.
    """
    package = name.replace("-", "_")
    _check_name(package)
    calve = Version(version("calve"))
    texts = {
        "@name@": package,
        "@distribution@": package.replace("_", "-"),
        "@calve@": f"{calve.major}.{calve.minor}",
        "@next_calve@": str(calve.major + 1),
    }
    places = {template: Path(_filled(place, texts)) for template, place in _PLACES.items()}
    with atomic_dir(folder or Path(texts["@distribution@"])) as target:
        for template, place in places.items():
            text = files("calve.registry.scaffold").joinpath(template).read_text(encoding="utf-8")
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_text(_filled(text, texts), encoding="utf-8")
    return list(places.values())


def _filled(text: str, texts: dict[str, str]) -> str:
    for mark, value in texts.items():
        text = text.replace(mark, value)
    return text


def _check_name(package: str) -> None:
    if not _NAME.fullmatch(package) or keyword.iskeyword(package):
        raise ConfigError(
            f"{package!r} cannot be the name of a Python package",
            fix="use lower-case letters, digits and underscores, a letter first: my_encoder",
        )
    if package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        raise ConfigError(
            f"a package {package!r} is installed already, and would be hidden by the new one",
            fix="choose another name",
        )
    registry = build_registry()
    if package in registry.encoders or f"{package}_transducer" in registry.recipes:
        raise ConfigError(
            f"the encoder {package!r} is registered already", fix="choose another name"
        )
