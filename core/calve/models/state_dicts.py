"""The entries of a state_dict: names without wrappers' prefixes, odd tensors, NaN."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from calve.errors import CheckpointError

if TYPE_CHECKING:
    import torch

Entry = TypeVar("Entry")

__all__ = ["check_finite", "checked_model_state", "without_modules"]

_LOGGER = logging.getLogger(__name__)

_COMPILED = "_orig_mod."
"""What ``torch.compile`` puts before the names of a module, also of one inside a model."""

_DISTRIBUTED = "module."
_LIGHTNING = "model."
_NETWORKS = ("encoder.", "decoder.", "joiner.")

_TYPES_OF_WEIGHTS = frozenset(
    (
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "bool",
    )
)
"""The types with which torch computes everywhere; of others, such as float8, not even a sum."""


def checked_model_state(
    state: Mapping[str, torch.Tensor], path: Path | str
) -> dict[str, torch.Tensor]:
    """A model's state_dict without the prefixes of wrappers.

    Raises:
      CheckpointError: if two entries get one name, or a tensor cannot be a weight.
    """
    named: dict[str, torch.Tensor] = {}
    for key, tensor in _of_model(state, path).items():
        name = _plain_name(key)
        if name in named:
            raise CheckpointError(f"two entries of this file are both called {name}", where=path)
        problem = _why_no_weight(tensor)
        if problem is not None:
            raise CheckpointError(f"entry {name} {problem}; it cannot be a weight", where=path)
        named[name] = tensor.detach()
    return named


def without_modules(
    state: Mapping[str, Entry], modules: Iterable[str]
) -> tuple[dict[str, Entry], dict[str, int]]:
    """A state_dict, or the shapes of one, without some modules.

    Args:
      state: The state_dict.
      modules: Names of modules, for example "decoder_giga".

    Returns:
      The other entries, and how many entries of each module were left out.
    """
    prefixes = {f"{module}.": module for module in modules}
    kept: dict[str, Entry] = {}
    left_out: dict[str, int] = {}
    for key, entry in state.items():
        module = next((name for prefix, name in prefixes.items() if key.startswith(prefix)), None)
        if module is None:
            kept[key] = entry
        else:
            left_out[module] = left_out.get(module, 0) + 1
    return kept, left_out


def check_finite(state: Mapping[str, torch.Tensor], source: Path | str) -> None:
    """Refuse weights that a diverged training left.

    A mask of zeros and minus infinity is none.

    Raises:
      CheckpointError: if an entry holds NaN or infinity; it names the first.
    """
    bad = [key for key, tensor in state.items() if not _is_finite(tensor)]
    if bad:
        more = f" and {len(bad) - 1} more entries hold" if len(bad) > 1 else " holds"
        raise CheckpointError(
            f"the model is unusable: {bad[0]}{more} NaN or infinite numbers",
            where=source,
            fix="the training diverged; take an earlier checkpoint",
        )


def _is_finite(tensor: torch.Tensor) -> bool:
    import torch

    if not tensor.is_floating_point():
        return True
    # Much faster than a mask of the tensor's size: NaN and infinity stay in the sum. A sum may also
    # overflow, so that only the slow way finds something.
    if math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all()):
        return True
    return bool(((tensor == 0) | (tensor == -math.inf)).all())


def _of_model(state: Mapping[str, torch.Tensor], path: Path | str) -> Mapping[str, torch.Tensor]:
    """The entries of the model in a Lightning module, which may hold more; otherwise all."""
    inner = {
        key.removeprefix(_LIGHTNING): tensor
        for key, tensor in state.items()
        if key.startswith(_LIGHTNING)
    }
    if not inner or any(_plain_name(key).startswith(_NETWORKS) for key in state):
        return state
    others = len(state) - len(inner)
    if others:
        _LOGGER.warning("%s: left out %d entries that are not of 'model'", path, others)
    return inner


def _plain_name(key: str) -> str:
    return key.replace(_COMPILED, "").removeprefix(_DISTRIBUTED)


def _why_no_weight(tensor: torch.Tensor) -> str | None:
    import torch

    if tensor.is_nested:
        return "is a nested tensor"
    if tensor.layout is not torch.strided:
        return f"is stored as {tensor.layout}"
    if tensor.is_quantized:
        return f"is quantized ({tensor.dtype})"
    if tensor.is_complex():
        return f"holds complex numbers ({tensor.dtype})"
    if str(tensor.dtype).removeprefix("torch.") not in _TYPES_OF_WEIGHTS:
        return f"holds numbers of the type {tensor.dtype}"
    if tensor.is_meta:
        return "has no content (device meta)"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has {tensor.numel()} elements, more than the file holds"
    return None
