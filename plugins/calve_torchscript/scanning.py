"""Reads the code in a TorchScript file without running it, and refuses what is more than math.

A TorchScript file holds code that torch compiles and runs when the file is loaded
(``__setstate__``) and when the network is called. The language has no files and no processes of its
own, but operators that have: ``torch.save(x, "/home/me/.profile")`` in a network writes that file.
Here every operator that the code names must be one of those that networks compute with.

torch prints the code in a subset of Python's syntax, so Python's parser reads it. Format:
https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/docs/serialization.md
"""

from __future__ import annotations

import ast
import pickletools
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from calve.common.printable import one_line

__all__ = ["OPERATORS", "code_problem"]

OPERATORS = frozenset(
    files("calve_torchscript").joinpath("operators.txt").read_text("utf-8").split()
)
"""Operators of torch (``torch.NAME`` in the code) that reach nothing but their arguments."""

_PRIM = frozenset(
    {
        *("NumToTensor", "RaiseException", "Uninitialized", "abs", "data", "device", "dtype"),
        *("is_cuda", "layout", "max", "min", "ndim", "requires_grad", "shape", "type"),
        *("unchecked_cast", "unchecked_unwrap_optional"),
    }
)
"""Operators in the code that are called ``ops.prim.NAME``."""

_FUNCTIONS = frozenset(
    {
        *("abs", "annotate", "bool", "complex", "enumerate", "float", "getattr", "int"),
        *("isinstance", "len", "list", "max", "min", "range", "reversed", "str", "tuple"),
        *("unchecked_cast", "uninitialized", "zip"),
    }
)
"""Functions of the language itself."""

_GLOBALS = frozenset(
    {
        "torch._utils _rebuild_tensor_v2",
        "torch.jit._pickle build_boollist",
        "torch.jit._pickle build_doublelist",
        "torch.jit._pickle build_intlist",
        "torch.jit._pickle build_tensorlist",
        "torch.jit._pickle restore_type_tag",
        "collections OrderedDict",
    }
)
"""What the pickles of a TorchScript file may name, apart from its own classes and storages."""

_NAMING = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "PERSID")
_CUSTOM_CLASSES = "__torch__.torch.classes."
_LARGEST_CODE = 64 * 2**20


def code_problem(path: Path) -> str | None:
    """What in a TorchScript file is more than math, in words; None if nothing is.

    Args:
      path: The file. It is read, and nothing of it is compiled or run.

    Raises:
      OSError: if the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return next(_problems(archive), None)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"the archive is damaged: {error}"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"its code cannot be read: {one_line(str(error))}"


def _problems(archive: zipfile.ZipFile) -> Iterator[str]:
    names = [entry.filename for entry in archive.infolist()]
    # torch's reader ignores case and takes the first of two entries, Python's takes the last.
    for name, count in Counter(name.lower() for name in names).items():
        if count > 1:
            yield f"the archive has two entries {one_line(name)}"
    read = 0
    for entry in archive.infolist():
        name = entry.filename.lower()
        if not name.endswith((".py", "pkl")):
            continue
        read += entry.file_size
        if read > _LARGEST_CODE:
            yield f"its code has more than {_LARGEST_CODE} bytes"
            return
        content = archive.read(entry)
        problems = _of_code(content) if name.endswith(".py") else _of_pickle(content)
        for problem in problems:
            yield f"{one_line(entry.filename)}: {problem}"


def _of_pickle(content: bytes) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in _NAMING:
            yield f"the pickle uses {operation.name}"
        elif operation.name == "GLOBAL" and not _is_known_global(str(argument)):
            yield f"the pickle names {one_line(str(argument))}"


def _is_known_global(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    full = f"{module}.{attribute}"
    if full.startswith("__torch__."):
        return not full.startswith(_CUSTOM_CLASSES)
    is_storage = module == "torch" and attribute.endswith("Storage") and attribute.isidentifier()
    return name in _GLOBALS or is_storage


def _of_code(content: bytes) -> Iterator[str]:
    nodes = list(ast.walk(ast.parse(content)))
    roots = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in ("torch", "ops") and id(node) not in roots:
            yield f"it gives {node.id} another name"
        elif isinstance(node, ast.Attribute):
            yield from _of_attribute(node)
        elif isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.Lambda, ast.Await)):
            yield f"it uses {type(node).__name__}"


def _of_attribute(node: ast.Attribute) -> Iterator[str]:
    """An operator by its full name, or a member of a value, which may be an operator as well."""
    full = _dotted(node)
    root, _, rest = (full or "").partition(".")
    if root == "torch":
        if rest not in OPERATORS:
            yield f"it uses torch.{one_line(rest)}"
    elif root == "ops":
        if rest != "prim" and rest.removeprefix("prim.") not in _PRIM:
            yield f"it uses ops.{one_line(rest)}"
    elif full is not None and f"{full}.".startswith(_CUSTOM_CLASSES):
        yield f"it uses the class {one_line(full)}"
    elif root not in ("__torch__", "CONSTANTS"):
        yield from _of_member(node.attr)


def _of_member(name: str) -> Iterator[str]:
    """``x.NAME`` is the operator of this name wherever the value has no such member."""
    if name in _operators_of_torch() and name not in OPERATORS | _PRIM:
        yield f"it uses the operator {one_line(name)}"


def _of_call(node: ast.Call) -> Iterator[str]:
    function = node.func
    if isinstance(function, ast.Name):
        # Functions of the file itself are bound to numbered variables.
        if function.id not in _FUNCTIONS and not function.id.removeprefix("_").isdecimal():
            yield f"it calls {one_line(function.id)}"
        elif function.id == "getattr":
            member = node.args[1] if len(node.args) == 2 else None
            if isinstance(member, ast.Constant) and isinstance(member.value, str):
                yield from _of_member(member.value)
            else:
                yield "it calls getattr with something that is not a name"
    elif not isinstance(function, ast.Attribute):
        yield f"it calls {one_line(ast.unparse(function))[:40]}"


def _dotted(node: ast.expr) -> str | None:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


@cache
def _operators_of_torch() -> frozenset[str]:
    """The names of all operators that torch knows, without their namespaces."""
    schemas = torch._C._jit_get_all_schemas()
    return frozenset(schema.name.rpartition("::")[2] for schema in schemas)
