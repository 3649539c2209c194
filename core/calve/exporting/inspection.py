"""Descriptions of the files that calve uses: checkpoints, bundles, networks, symbol tables.

Files are read as data: no network is loaded, and a file that needs code to be run is rejected or
only listed. The plugins of formats describe their own networks
(`calve.registry.specs.ExporterSpec.inspect`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calve.bundles.bundle import MANIFEST_FILE, read_manifest
from calve.common.exceptions import describe
from calve.common.inputs import check_input
from calve.data.tokens import SymbolTable
from calve.errors import CalveError, DataError, PluginError
from calve.models.building import ModelBuilder, shapes_of
from calve.models.checkpoint_files import (
    STATEFUL_ENTRIES,
    model_state,
    plain_entries,
    read_checkpoint,
)
from calve.models.fitting import fitting_recipes
from calve.models.state_dicts import without_modules
from calve.registry.catalog import registry

if TYPE_CHECKING:
    import torch

__all__ = ["inspect_file"]

_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
_OPTIONS_SHOWN = (bool, int, float, str, type(None))


def inspect_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Describe a file or a bundle with JSON values.

    The path of a ``bundle.json`` selects its bundle.

    Returns:
      "path", "bytes" and "kind" first; the other keys depend on the kind.

    Raises:
      CalveError: if the file is missing, damaged or of no kind that calve or a plugin knows.
    """
    path = Path(path)
    if path.name == MANIFEST_FILE:
        path = path.parent
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return {"path": str(path), "bytes": size, **_bundle(path)}
    check_input(path, "file", DataError)
    found = _of_format(path) or _of_core(path)
    return {"path": str(path), "bytes": path.stat().st_size, **found}


def _of_core(path: Path) -> dict[str, Any]:
    if path.suffix == ".txt":
        return _symbols(path)
    if path.suffix in _CHECKPOINT_SUFFIXES or _begins_as_checkpoint(path):
        return _checkpoint(path)
    raise DataError(
        "this is no file that calve or a plugin describes",
        where=path,
        fix="give a bundle, a checkpoint, a network of a bundle, or a tokens.txt",
    )


def _begins_as_checkpoint(path: Path) -> bool:
    """Whether a file begins like an archive or a pickle of ``torch.save``."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def _of_format(path: Path) -> Mapping[str, Any] | None:
    """Return the description of the first format that recognizes the file."""
    inspectors = {
        spec.inspect: spec.format for spec in registry().exporters if spec.inspect is not None
    }
    for inspect, name in inspectors.items():
        try:
            found: Mapping[str, Any] | None = inspect.load()(path)
        except CalveError:
            raise
        # A plugin may fail in any way on a foreign file.
        except Exception as error:
            raise PluginError(
                f"format {name} cannot inspect the file: {describe(error)}", where=path
            ) from error
        if found is not None:
            return found
    return None


def _bundle(path: Path) -> dict[str, Any]:
    manifest = read_manifest(path).to_json()
    files = manifest.pop("files")
    return {
        "kind": "bundle",
        **manifest,
        "files": [{"file": name, **record} for name, record in files.items()],
    }


def _symbols(path: Path) -> dict[str, Any]:
    symbols = SymbolTable.read(path)
    return {
        "kind": "symbol table",
        "symbols": len(symbols),
        "blank": symbols.blank_id,
        "unknown": symbols.unk_id,
        "byte-level BPE": symbols.is_byte_bpe,
        "first symbols": list(symbols)[:10],
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    content = read_checkpoint(path)
    state = model_state(content, path)
    entries = plain_entries(content) if "model" in content or "state_dict" in content else {}
    noted, recipes = entries.get("recipe"), fitting_recipes(shapes_of(state))
    chosen = noted if noted in recipes else next(iter(recipes), None)
    return {
        "kind": "checkpoint",
        "recipe noted in it": noted,
        "recipes that it fits": recipes,
        "states": [name for name in STATEFUL_ENTRIES if content.get(name) is not None],
        "networks": list(_networks(state)),
        "options by its shapes": {} if chosen is None else _options(chosen, state),
        "training parameters": {
            key: _without_nan(value)
            for key, value in entries.items()
            if isinstance(value, _OPTIONS_SHOWN)
        },
    }


def _without_nan(value: Any) -> Any:
    """Return a JSON number. icefall's best loss is infinite before the first epoch ends."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _networks(state: Mapping[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    """Count entries, numbers and types of each top-level module."""
    modules: dict[str, list[torch.Tensor]] = {}
    for name, tensor in state.items():
        modules.setdefault(name.partition(".")[0], []).append(tensor)
    for name, tensors in modules.items():
        yield {
            "module": name,
            "entries": len(tensors),
            "numbers": sum(tensor.numel() for tensor in tensors),
            "types": ", ".join(
                dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
            ),
        }


def _options(recipe: str, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    builder = ModelBuilder(recipe)
    shapes, _ = without_modules(shapes_of(state), builder.recipe.training_only)
    inferred = builder.infer(shapes)
    return {name: value for table in inferred.values() for name, value in table.items()}
