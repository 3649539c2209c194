"""Loading of a checkpoint's weights into the model of a recipe, with a report of mismatches."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calve.errors import CheckpointError
from calve.models.building import ModelBuilder, Shapes, shapes_of
from calve.models.state_dicts import without_modules
from calve.registry.catalog import registry

if TYPE_CHECKING:
    import torch

__all__ = ["fit_weights", "fitting_recipes"]

_LAYER_NUMBER = re.compile(r"\.\d+(?=\.)")
_LISTED = 4
"""Largest number of groups of entries in a message."""


def fit_weights(
    builder: ModelBuilder,
    config: Mapping[str, Any],
    state: dict[str, torch.Tensor],
    source: str,
) -> torch.nn.Module:
    """Build the model with the weights ``state``, without allocating them twice if possible."""
    model = _build_without_storage(builder, config)
    if model is None:
        model = builder.build(config)
    _check_fit(model, state, builder, config, source)
    model.load_state_dict(state, assign=True)
    if _has_empty_tensors(model):
        # The encoder computes constants in its constructor; they need storage.
        model = builder.build(config)
        model.load_state_dict(state, assign=True)
    return model


def _build_without_storage(
    builder: ModelBuilder, config: Mapping[str, Any]
) -> torch.nn.Module | None:
    """Build the model on torch's meta device; return None if its constructor reads values."""
    import torch

    try:
        with torch.device("meta"):
            return builder.construct(config)
    except (NotImplementedError, RuntimeError):
        return None
    except (ValueError, ArithmeticError):
        return builder.build(config)  # fails again, with a message


def _has_empty_tensors(model: torch.nn.Module) -> bool:
    import torch

    return any(
        isinstance(value, torch.Tensor) and value.is_meta
        for module in model.modules()
        for values in (vars(module), module._parameters, module._buffers)
        for value in values.values()
    )


def _check_fit(
    model: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    builder: ModelBuilder,
    config: Mapping[str, Any],
    source: str,
) -> None:
    expected, found = shapes_of(model.state_dict()), shapes_of(state)
    if expected == found:
        _check_kinds(model.state_dict(), state, source)
        return
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [key for key in expected if key in found and expected[key] != found[key]]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_grouped(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_grouped(unexpected)})")
    if reshaped:
        first = reshaped[0]
        parts.append(
            f"{len(reshaped)} of another shape ({first} is {list(found[first])}, "
            f"not {list(expected[first])})"
        )
    raise CheckpointError(
        f"the checkpoint's entries do not fit recipe {builder.recipe.name}: " + ", ".join(parts),
        where=source,
        fix=_explanation(builder, config, found),
    )


def _check_kinds(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], source: str
) -> None:
    """Check that integers and floats are not exchanged; their precisions may differ."""
    for key, tensor in expected.items():
        if tensor.is_floating_point() != found[key].is_floating_point():
            raise CheckpointError(
                f"entry {key} holds {found[key].dtype}, the model has {tensor.dtype}", where=source
            )


def _explanation(builder: ModelBuilder, config: Mapping[str, Any], found: Shapes) -> str:
    """Explain why a checkpoint may not fit: it is converted already, or of another recipe."""
    plain = builder.family.to_plain(builder.build(config))
    if shapes_of(plain.state_dict()) == found:
        return (
            "its weights were already converted for export; "
            "give the checkpoint that training wrote, or icefall's pretrained.pt"
        )
    fitting = [name for name in fitting_recipes(found) if name != builder.recipe.name]
    if fitting:
        return f"it fits the recipe {' or '.join(fitting)}"
    return (
        f"was it trained with another recipe? registered: {', '.join(registry().recipes.names())}"
    )


def fitting_recipes(found: Shapes) -> list[str]:
    """Return the names of the registered recipes whose model has exactly these entries."""
    return [name for name in registry().recipes.names() if _fits(name, found)]


def _fits(recipe: str, found: Shapes) -> bool:
    try:
        builder = ModelBuilder(recipe)
        found, _ = without_modules(found, builder.recipe.training_only)
        config = builder.resolve(builder.infer(found))
        model = _build_without_storage(builder, config)
        if model is None:
            model = builder.build(config)
    # Another recipe may fail in any way on foreign weights.
    except Exception:
        return False
    return shapes_of(model.state_dict()) == found


def _grouped(keys: Sequence[str]) -> str:
    """Group entries by module, with layer numbers as ``*``, the largest group first."""
    if len(keys) == 1:
        return keys[0]
    groups = Counter(_LAYER_NUMBER.sub(".*", key).rpartition(".")[0] or key for key in keys)
    listed = [f"{count} in {module}" for module, count in groups.most_common(_LISTED)]
    return ", ".join(listed) + (", ..." if len(groups) > _LISTED else "")
