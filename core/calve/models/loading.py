"""From a checkpoint to a model: infers its sizes, builds it, and fits the weights into it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from calve.common.config import load_toml, option_name, resolve, value_text
from calve.common.suggest import did_you_mean
from calve.errors import CheckpointError, ConfigError
from calve.models.checkpoint_files import plain_entries, read_checkpoint
from calve.models.checkpoints import (
    BUILTIN_PREFIX,
    CheckpointChoice,
    LoadedCheckpoint,
    builtin_checkpoint,
    checkpoint_files,
    load_state_dict,
)
from calve.protocols import ModelFamily
from calve.registry.catalog import registry
from calve.registry.specs import EncoderSpec, RecipeSpec

if TYPE_CHECKING:
    import torch

__all__ = [
    "LoadedModel",
    "ModelBuilder",
    "load",
    "load_model",
    "parameter_counts",
    "recipe_of",
]

Shapes = dict[str, tuple[int, ...]]

_ENCODER_PREFIX = "encoder."
_LAYER_NUMBER = re.compile(r"\.\d+(?=\.)")
_LISTED = 4
"""How many groups of entries a message lists."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights, and all that made it.

    Attributes:
      model: A torch module in eval mode; shares its memory with ``checkpoint.state_dict``.
      config: The resolved dataclasses by table: "encoder" and "model".
      family: What surrounds the encoder.
    """

    model: Any
    config: dict[str, Any]
    checkpoint: LoadedCheckpoint
    recipe: RecipeSpec
    encoder: EncoderSpec
    family: ModelFamily


class ModelBuilder:
    """Builds the models of one recipe.

    Args:
      recipe: Name of a registered recipe.

    Raises:
      PluginError: if the recipe or its encoder is not registered or cannot be loaded.
    """

    def __init__(self, recipe: str) -> None:
        self.recipe = registry().recipes.get(recipe)
        self.encoder = registry().encoders.get(self.recipe.encoder)
        self.family: ModelFamily = self.recipe.family.load()()
        self.config_classes: dict[str, type] = {
            "encoder": self.encoder.config.load(),
            "model": self.family.config,
        }

    def resolve(self, *layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The configuration dataclasses by table: the recipe's defaults, then each layer."""
        defaults = load_toml(self.recipe.defaults)
        return {
            table: resolve(
                cls, defaults.get(table, {}), *(layer.get(table, {}) for layer in layers)
            )
            for table, cls in self.config_classes.items()
        }

    def build(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """A freshly initialized model."""
        return self.family.build(self.encoder.build.load()(config["encoder"]), config["model"])

    def infer(self, shapes: Shapes) -> dict[str, dict[str, Any]]:
        """The options, by table, that a checkpoint's shapes determine."""
        encoder_shapes = {
            key.removeprefix(_ENCODER_PREFIX): shape
            for key, shape in shapes.items()
            if key.startswith(_ENCODER_PREFIX)
        }
        return {
            "encoder": self.encoder.infer_config.load()(encoder_shapes),
            "model": self.family.infer_config(shapes),
        }

    def by_table(self, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Sort options into tables by their names.

        Raises:
          ConfigError: if a name is in no table.
        """
        names = {
            table: {field.name for field in fields(cls)}
            for table, cls in self.config_classes.items()
        }
        known = set().union(*names.values())
        for name in options:
            if name not in known:
                raise ConfigError(
                    f"recipe {self.recipe.name} has no option {name!r}",
                    fix=did_you_mean(name, known) or f"it has {', '.join(sorted(known))}",
                )
        return {
            table: {name: value for name, value in options.items() if name in names[table]}
            for table in names
        }

    def saved(self, entries: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The options, by table, among the training parameters of a checkpoint."""
        return {
            table: {
                field.name: entries[field.name]
                for field in fields(cls)
                if isinstance(entries.get(field.name), (bool, int, float, str, list, tuple))
            }
            for table, cls in self.config_classes.items()
        }

    def fixed(self, saved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Those of the `saved` options, by table, that decide what the weights mean."""
        return {
            table: {
                field.name: saved[table][field.name]
                for field in fields(cls)
                if field.metadata.get("fixed") and field.name in saved[table]
            }
            for table, cls in self.config_classes.items()
        }


def load_model(
    recipe: str, checkpoint: str | PathLike[str] | CheckpointChoice, **overrides: Any
) -> torch.nn.Module:
    """A trained model in eval mode.

    Args:
      recipe: Name of the recipe that the checkpoint was trained with.
      checkpoint: A file, "builtin:NAME", or a choice of checkpoints to average.
      **overrides: Options of the encoder or the model that the checkpoint leaves open.

    Returns:
      A module with ``.encoder``, ``.decoder`` and ``.joiner``; ``encoder(x, x_lens)`` gives
      ``(y, y_lens)`` for x (N, T, C).

    Raises:
      CheckpointError: if the checkpoint cannot be read or does not fit the recipe.
      ConfigError: if an override is unknown or contradicts the checkpoint.
      PluginError: if the recipe is not registered or not usable.
    """
    overrides_by_table = ModelBuilder(recipe).by_table(overrides)
    model: torch.nn.Module = load(recipe, checkpoint, overrides_by_table).model
    return model


def load(
    recipe: str,
    checkpoint: str | PathLike[str] | CheckpointChoice,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedModel:
    """As `load_model`, with everything that made the model.

    Args:
      overrides: Options by table, "encoder" and "model".
    """
    builder = ModelBuilder(recipe)
    for table in overrides or {}:
        if table not in builder.config_classes:
            raise ConfigError(
                f"a model has no options called {table!r}",
                fix=did_you_mean(table, builder.config_classes) or "they are 'encoder' and 'model'",
            )
    if not isinstance(checkpoint, CheckpointChoice):
        checkpoint = CheckpointChoice(checkpoint=fspath(checkpoint))
    loaded = load_state_dict(checkpoint)
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in loaded.state_dict.items()
    }
    saved = builder.saved(loaded.entries)
    inferred = _infer(builder, _shapes(state), loaded.source)
    fixed = builder.fixed(saved)
    for table, options in (overrides or {}).items():
        _check_agreement(options, {**fixed[table], **inferred[table]}, loaded.source)
    config = builder.resolve(saved, inferred, overrides or {})
    return LoadedModel(
        model=_with_weights(builder, config, state, loaded.source).eval(),
        config=config,
        checkpoint=loaded,
        recipe=builder.recipe,
        encoder=builder.encoder,
        family=builder.family,
    )


def recipe_of(choice: CheckpointChoice) -> str:
    """The recipe of a checkpoint: the one that brings it, or the one that training noted in it.

    Raises:
      ConfigError: if the choice is impossible, or the checkpoint names no recipe.
      CheckpointError: if a file is missing or cannot be read.
    """
    if choice.checkpoint is not None and choice.checkpoint.startswith(BUILTIN_PREFIX):
        with builtin_checkpoint(choice.checkpoint) as (spec, _):
            return next(one.name for one in registry().recipes if spec in one.pretrained)
    file = checkpoint_files(choice)[-1]
    recipe = plain_entries(read_checkpoint(file)).get("recipe")
    if not isinstance(recipe, str):
        raise ConfigError(
            "the checkpoint does not say which recipe it is of",
            where=file,
            fix=f"give --recipe, one of {', '.join(sorted(registry().recipes.names()))}",
        )
    return recipe


def parameter_counts(model: Any) -> dict[str, int]:
    """Parameters of the three networks that run on a device, and their "total"."""
    counts = {
        name: sum(parameter.numel() for parameter in getattr(model, name).parameters())
        for name in ("encoder", "decoder", "joiner")
    }
    return {**counts, "total": sum(counts.values())}


def _infer(builder: ModelBuilder, shapes: Shapes, source: str) -> dict[str, dict[str, Any]]:
    try:
        return builder.infer(shapes)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit recipe {builder.recipe.name}: "
            "an entry has the wrong number of dimensions",
            where=source,
        ) from error


def _check_agreement(options: Mapping[str, Any], inferred: Mapping[str, Any], source: str) -> None:
    for name, value in options.items():
        if name in inferred and _comparable(value) != _comparable(inferred[name]):
            flag = option_name(name)
            raise ConfigError(
                f"{flag} {value_text(value)} contradicts the checkpoint, where it is "
                f"{value_text(inferred[name])}",
                where=source,
                fix=f"leave out {flag}: it is read from the checkpoint",
            )


def _comparable(value: Any) -> Any:
    """What was a tuple is a list in a checkpoint, whose parameters are written as JSON has them."""
    return tuple(value) if isinstance(value, list) else value


def _with_weights(
    builder: ModelBuilder,
    config: Mapping[str, Any],
    state: dict[str, torch.Tensor],
    source: str,
) -> torch.nn.Module:
    """The model with ``state`` in it, built without memory of its own where that is possible."""
    model = _build_without_storage(builder, config)
    if model is None:
        model = builder.build(config)
    _check_fit(model, state, builder, config, source)
    model.load_state_dict(state, assign=True)
    if _has_empty_tensors(model):
        # The encoder computes constants when it is built; they must have storage.
        model = builder.build(config)
        model.load_state_dict(state, assign=True)
    return model


def _build_without_storage(
    builder: ModelBuilder, config: Mapping[str, Any]
) -> torch.nn.Module | None:
    """The model on torch's meta device, or None if its construction looks at values."""
    import torch

    try:
        with torch.device("meta"):
            return builder.build(config)
    except (NotImplementedError, RuntimeError):
        return None


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
    expected, found = _shapes(model.state_dict()), _shapes(state)
    if expected == found:
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


def _explanation(builder: ModelBuilder, config: Mapping[str, Any], found: Shapes) -> str:
    """Why a checkpoint may not fit: it is plain already, or of another recipe."""
    plain = builder.family.to_plain(builder.build(config))
    if _shapes(plain.state_dict()) == found:
        return (
            "its weights were already converted for export; "
            "give the checkpoint that training wrote, or icefall's pretrained.pt"
        )
    others = [name for name in registry().recipes.names() if name != builder.recipe.name]
    fitting = [name for name in others if _fits(name, found)]
    if fitting:
        return f"it fits the recipe {' or '.join(fitting)}"
    return (
        f"was it trained with another recipe? registered: {', '.join(registry().recipes.names())}"
    )


def _fits(recipe: str, found: Shapes) -> bool:
    try:
        builder = ModelBuilder(recipe)
        model = builder.build(builder.resolve(builder.infer(found)))
    # Another recipe may fail in any way on weights that are not its own.
    except Exception:
        return False
    return _shapes(model.state_dict()) == found


def _shapes(state: Mapping[str, torch.Tensor]) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _grouped(keys: Sequence[str]) -> str:
    """The modules that the entries belong to, layer numbers as ``*``, the largest first."""
    if len(keys) == 1:
        return keys[0]
    groups = Counter(_LAYER_NUMBER.sub(".*", key).rpartition(".")[0] or key for key in keys)
    listed = [f"{count} in {module}" for module, count in groups.most_common(_LISTED)]
    return ", ".join(listed) + (", ..." if len(groups) > _LISTED else "")
