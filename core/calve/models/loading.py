"""Loading of models: read the weights, infer the sizes, build the networks, fit the weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from calve.common.config import option_name, value_text
from calve.common.suggest import did_you_mean
from calve.data.features import FeatureConfig
from calve.errors import CheckpointError, ConfigError
from calve.models.building import ModelBuilder, Shapes, shapes_of
from calve.models.checkpoints import (
    CheckpointChoice,
    LoadedCheckpoint,
    builtin_checkpoint,
    load_state_dict,
)
from calve.models.fitting import fit_weights
from calve.models.state_dicts import without_modules
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
    "sample_rate_of",
]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights, configuration and origin.

    Attributes:
      model: A torch module in eval mode; shares its memory with ``checkpoint.state_dict``.
      config: The resolved dataclasses by table: "encoder" and "model".
      family: The model family.
    """

    model: Any
    config: dict[str, Any]
    checkpoint: LoadedCheckpoint
    recipe: RecipeSpec
    encoder: EncoderSpec
    family: ModelFamily

    @property
    def features(self) -> FeatureConfig:
        """The features that the model was trained on."""
        return FeatureConfig(
            sample_rate=sample_rate_of(self.config["model"]),
            num_mel_bins=self.model.encoder.feature_dim,
        )


def load_model(
    recipe: str, checkpoint: str | PathLike[str] | CheckpointChoice, **overrides: Any
) -> torch.nn.Module:
    """Load a trained model in eval mode.

    Args:
      recipe: Name of the recipe that the checkpoint was trained with.
      checkpoint: A file, "builtin:NAME", or a choice of checkpoints to average.
      **overrides: Options of the encoder or the model that the checkpoint leaves open.

    Returns:
      A module with ``.encoder``, ``.decoder`` and ``.joiner``; ``encoder(x, x_lens)`` returns
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
    checkpoint: str | PathLike[str] | CheckpointChoice | LoadedCheckpoint,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> LoadedModel:
    """Like `load_model`, with configuration and origin.

    Args:
      checkpoint: As for `load_model`, or a result of `load_state_dict`.
      overrides: Options by table, "encoder" and "model".
    """
    builder = ModelBuilder(recipe)
    for table in overrides or {}:
        if table not in builder.config_classes:
            raise ConfigError(
                f"a model has no options called {table!r}",
                fix=did_you_mean(table, builder.config_classes) or "they are 'encoder' and 'model'",
            )
    loaded = _without_training_only(_read(checkpoint), builder.recipe)
    state = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in loaded.state_dict.items()
    }
    saved = builder.saved(loaded.entries)
    inferred = _infer(builder, shapes_of(state), loaded.source)
    fixed = builder.fixed(saved)
    for table, options in (overrides or {}).items():
        _check_agreement(options, {**fixed[table], **inferred[table]}, loaded.source)
    config = builder.resolve(saved, inferred, overrides or {})
    return LoadedModel(
        model=fit_weights(builder, config, state, loaded.source).eval(),
        config=config,
        checkpoint=loaded,
        recipe=builder.recipe,
        encoder=builder.encoder,
        family=builder.family,
    )


def recipe_of(checkpoint: LoadedCheckpoint) -> str:
    """Return the recipe that ships the checkpoint, or the one that training stored in it.

    Raises:
      ConfigError: if the checkpoint names no recipe.
    """
    builtin = checkpoint.provenance.get("builtin")
    if builtin is not None:
        with builtin_checkpoint(builtin) as (spec, _):
            return next(one.name for one in registry().recipes if spec in one.pretrained)
    recipe = checkpoint.entries.get("recipe")
    if not isinstance(recipe, str):
        raise ConfigError(
            "the checkpoint does not name its recipe",
            where=checkpoint.source,
            fix=f"give --recipe, one of {', '.join(sorted(registry().recipes.names()))}",
        )
    return recipe


def sample_rate_of(config: Any) -> int:
    """Return the sampling rate in Hz of a model with these options."""
    rate: int = getattr(config, "sample_rate", FeatureConfig().sample_rate)
    return rate


def parameter_counts(model: Any) -> dict[str, int]:
    """Count the parameters of the three networks of a bundle, and their "total"."""
    counts = {
        name: sum(parameter.numel() for parameter in getattr(model, name).parameters())
        for name in ("encoder", "decoder", "joiner")
    }
    return {**counts, "total": sum(counts.values())}


def _read(
    checkpoint: str | PathLike[str] | CheckpointChoice | LoadedCheckpoint,
) -> LoadedCheckpoint:
    if isinstance(checkpoint, LoadedCheckpoint):
        return checkpoint
    if isinstance(checkpoint, CheckpointChoice):
        return load_state_dict(checkpoint)
    return load_state_dict(CheckpointChoice(checkpoint=fspath(checkpoint)))


def _without_training_only(loaded: LoadedCheckpoint, recipe: RecipeSpec) -> LoadedCheckpoint:
    """Remove and log the entries that only training needs."""
    state, left_out = without_modules(loaded.state_dict, recipe.training_only)
    if not left_out:
        return loaded
    _LOGGER.warning(
        "%s: left out %s (%d entries), which only training needs",
        loaded.source,
        ", ".join(left_out),
        sum(left_out.values()),
    )
    return replace(loaded, state_dict=state, provenance={**loaded.provenance, "left_out": left_out})


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
    """Convert lists to tuples, because checkpoints store tuples as JSON lists."""
    return tuple(value) if isinstance(value, list) else value
