"""The functions that plugins may call, on their page and in the module."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from calve import services

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugin-api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", services.__all__)
def test_every_name_can_be_imported(name: str):
    assert getattr(services, name) is not None


def test_the_page_lists_every_name_and_no_other():
    section = PAGE.split("## Functions of other rooms")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(services.__all__)


def test_type_checkers_see_the_modules_that_are_imported():
    tree = ast.parse(Path(services.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {name.name: node.module for node in block.body for name in node.names}
    assert typed == services._MODULES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'read_everything'"):
        _ = services.read_everything


def test_importing_the_module_imports_no_room(run_python):
    script = (
        "import calve.services, sys; print(*[n for n in sys.modules if n.startswith('calve.')])"
    )
    assert run_python("-c", script).stdout.split() == ["calve.services"]


PROMISED = re.compile(r"calve\.(api|protocols|services|testing|common|data|bundles)(\.|$)")
WRITTEN_FOR_OTHERS = [
    *sorted((ROOT / "docs" / "examples").rglob("*.py")),
    *sorted((ROOT / "core" / "calve" / "registry" / "scaffold").rglob("*.py*")),
]


@pytest.mark.parametrize("path", WRITTEN_FOR_OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_and_generated_plugins_import_what_is_promised(path: Path):
    imports = re.findall(r"^\s*(?:from|import) (calve\.[\w.]+)", path.read_text("utf-8"), re.M)
    assert all(map(PROMISED.match, imports))


def test_there_are_examples_that_import_calve():
    assert sum("from calve." in path.read_text("utf-8") for path in WRITTEN_FOR_OTHERS) > 10
