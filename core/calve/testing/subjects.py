"""The small instance of an encoder that the kit tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calve.models.loading import ModelBuilder
from calve.registry.catalog import registry
from calve.registry.specs import EncoderSpec
from calve.testing.checks import fail

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A registered encoder and its small instance.

    Attributes:
      encoder: Name of the encoder.
      chosen_recipe: A recipe with this encoder; None for the first registered one.
      tiny: Options of the small instance; None for those of the spec.
    """

    encoder: str
    chosen_recipe: str | None = None
    tiny: Mapping[str, Any] | None = None

    @property
    def spec(self) -> EncoderSpec:
        """What the plugin registers."""
        return registry().encoders.get(self.encoder)

    @property
    def recipe(self) -> str:
        """The name of a recipe with this encoder."""
        if self.chosen_recipe is not None:
            return self.chosen_recipe
        names = [one.name for one in registry().recipes if one.encoder == self.encoder]
        if not names:
            fail(f"no recipe has the encoder {self.encoder!r}: register one")
        return names[0]

    @property
    def builder(self) -> ModelBuilder:
        """Builds models of the recipe."""
        return ModelBuilder(self.recipe)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved dataclasses of the small model by table."""
        builder = self.builder
        encoder = self.spec.tiny if self.tiny is None else self.tiny
        return builder.resolve({"encoder": encoder, "model": builder.family.tiny})

    def model(self) -> Any:
        """A whole model in eval mode, the same in every test."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.builder.build(self.config)
            with torch.no_grad():
                for parameter in model.parameters():
                    # What starts as zero would hide what is behind it.
                    parameter.add_(0.02 * torch.randn_like(parameter))
        return model.eval()

    def plain_encoder(self) -> Any:
        """The encoder as exporters get it, its training layers folded."""
        plain: Any = self.builder.family.to_plain(self.model())
        return plain.encoder
