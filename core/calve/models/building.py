"""Construction of a recipe's model from its options and the shapes of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from calve.common.config import load_toml, resolve
from calve.common.suggest import did_you_mean
from calve.errors import ConfigError
from calve.protocols import ModelFamily
from calve.registry.catalog import registry

if TYPE_CHECKING:
    import torch

__all__ = ["ModelBuilder", "Shapes", "shapes_of"]

Shapes = dict[str, tuple[int, ...]]
"""The shape of each entry of a state_dict."""

_ENCODER_PREFIX = "encoder."


def shapes_of(state: Mapping[str, torch.Tensor]) -> Shapes:
    """Return the shape of each entry."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


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
        """Merge the recipe's defaults and the layers; return the dataclasses by table."""
        defaults = load_toml(self.recipe.defaults)
        return {
            table: resolve(
                cls, defaults.get(table, {}), *(layer.get(table, {}) for layer in layers)
            )
            for table, cls in self.config_classes.items()
        }

    def build(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """Create an initialized model.

        Raises:
          ConfigError: if the options are impossible.
        """
        try:
            return self.construct(config)
        except (ValueError, ArithmeticError, RuntimeError) as error:
            raise ConfigError(
                f"the options of recipe {self.recipe.name} make no model: {error}",
                fix="correct the option; `calve train RECIPE --help` explains each",
            ) from error

    def construct(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """Like `build`, with the encoder's own exceptions."""
        return self.family.build(self.encoder.build.load()(config["encoder"]), config["model"])

    def infer(self, shapes: Shapes) -> dict[str, dict[str, Any]]:
        """Return the options, by table, that a checkpoint's shapes determine."""
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
        """Return the options, by table, among the training parameters of a checkpoint."""
        return {
            table: {
                field.name: entries[field.name]
                for field in fields(cls)
                if isinstance(entries.get(field.name), (bool, int, float, str, list, tuple))
            }
            for table, cls in self.config_classes.items()
        }

    def fixed(self, saved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the `saved` options, by table, on which the weights depend."""
        return {
            table: {
                field.name: saved[table][field.name]
                for field in fields(cls)
                if field.metadata.get("fixed") and field.name in saved[table]
            }
            for table, cls in self.config_classes.items()
        }
