"""Conformance tests of encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import SkipTest

from calve.common.config import fields_help
from calve.data.geometry import StreamingGeometry
from calve.exporting.verification import FAILED, PASSED, SKIPPED
from calve.models.loading import load
from calve.registry.catalog import registry
from calve.testing.capabilities import capabilities
from calve.testing.checks import (
    check_help,
    check_light_import,
    check_registered_once,
    check_round_trip,
    names_of,
    require,
)
from calve.testing.computations import ComputationChecks
from calve.testing.folders import temporary_folder
from calve.testing.metadata import check_table
from calve.testing.subjects import Subject
from calve.testing.tensors import features, lengths, run, stream

if TYPE_CHECKING:
    import torch

__all__ = ["EncoderConformance"]


class EncoderConformance(ComputationChecks):
    """Tests of a registered encoder, on a very small instance.

    Attributes:
      encoder: Name of the encoder.
      recipe: A recipe with this encoder; by default the first registered one.
      tiny: Options of the small instance, instead of `EncoderSpec.tiny`.
      formats: Export formats to test; by default all that the encoder claims.
      tolerance: Largest difference between two computations of the same numbers, relative to the
        largest number if that is above 1.
      without_gradient: Parameters that no training loss depends on.
    """

    encoder: ClassVar[str]
    recipe: ClassVar[str | None] = None
    tiny: ClassVar[Mapping[str, Any] | None] = None
    formats: ClassVar[Sequence[str] | None] = None

    def whole(self, encoder: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the expected result of streaming ``x``, from one call on the whole utterance.

        Override this method for an encoder that sees less context when it streams, such as one
        with attention in chunks.

        Args:
          encoder: The encoder in eval mode.
          x: (N, T, C) float32.

        Returns:
          (N, T', D).
        """
        y: torch.Tensor = encoder(x, lengths(x))[0]
        return y

    def sees_padding(self, frames: int) -> bool:
        """Whether an utterance of ``frames`` depends on the frames that follow it in a batch.

        Override this method for an encoder whose front end sees the padding of a batch.
        """
        return False

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """pytest calls it: one test for each format."""
        if "format_name" in metafunc.fixturenames:
            metafunc.parametrize("format_name", self._formats())

    # What calve knows without building it.

    def test_its_names_are_its_own(self) -> None:
        check_registered_once(registry().encoders, self.encoder)
        check_registered_once(registry().recipes, self._subject().recipe)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        spec = self._subject().spec
        recipe = registry().recipes.get(self._subject().recipe)
        source = registry().encoders.source(self.encoder)
        check_light_import(source.target, spec.config, spec.infer_config, recipe.family)

    def test_its_options_differ_from_those_of_the_model_around_it(self) -> None:
        family = self._subject().builder.family
        mine = _field_names(self._subject().spec.config.load())
        for table, cls in (("model", family.config), ("training", family.training_config)):
            common = mine & _field_names(cls)
            require(
                not common,
                f"the encoder and the recipe's [{table}] both have the option "
                f"{names_of(common)}: a command could not tell which is meant",
            )

    def test_its_configuration_explains_itself_and_survives_a_file(self) -> None:
        check_help(self._subject().spec.config.load())
        check_round_trip(self._subject().config["encoder"])

    # What becomes of it.

    def test_a_checkpoint_gives_the_same_model_again(self) -> None:
        import torch

        subject = self._subject()
        builder, config, model = subject.builder, subject.config, subject.model()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        for table, inferred in builder.infer(shapes).items():
            for name, value in inferred.items():
                actual = getattr(config[table], name)
                require(
                    value == actual,
                    f"the shapes of a checkpoint say {name} = {value}, and it is {actual}",
                )
        options = {
            name: value
            for table in config.values()
            for name, value in asdict(table).items()
            if value is not None
        }
        with temporary_folder() as folder:
            path = folder / "epoch-1.pt"
            torch.save({"model": model.state_dict(), **options}, path)
            loaded = load(builder.recipe.name, path)
        require(
            loaded.config == config,
            f"a checkpoint of {config} is loaded as {loaded.config}",
        )
        x = features(model.encoder, 1, model.encoder.geometry.overlap * 4 + 40)
        require(
            torch.equal(run(model.encoder, x)[0], run(loaded.model.encoder, x)[0]),
            "a model that was saved and loaded answers differently",
        )

    def test_plain_layers_compute_the_same(self) -> None:
        model = self._subject().model()
        plain: Any = self._subject().builder.family.to_plain(model)
        geometry: StreamingGeometry = model.encoder.geometry
        x = features(model.encoder, 2, geometry.overlap + 3 * geometry.shift)
        self._compare(
            stream(plain.encoder, x, geometry)[0],
            stream(model.encoder, x, geometry)[0],
            "the encoder as it is exported, against the one that is trained",
        )

    def test_metadata_for_a_claimed_format(self, format_name: str) -> None:
        exporter = registry().exporters.get(format_name)
        if exporter.metadata is None:
            raise SkipTest(f"the format {format_name} has no metadata")
        key = (self.encoder, format_name)
        check_registered_once(registry().metadata_writers, key)
        check_table(registry().metadata_writers.get(key), self._subject().config["encoder"])

    def test_a_claimed_format_works_and_only_claimed_clients_open_it(
        self, format_name: str
    ) -> None:
        cells = list(capabilities([self._subject().recipe], [format_name], tiny=self.tiny))
        wrong = [cell.complaint for cell in cells if not cell.agrees]
        require(not wrong, "\n".join(wrong))
        tried = [cell for cell in cells if cell.outcome in (PASSED, FAILED)]
        if not tried:
            raise SkipTest(next(cell.detail for cell in cells if cell.outcome == SKIPPED))

    # The small instance.

    def _subject(self) -> Subject:
        return Subject(self.encoder, self.recipe, self.tiny)

    def _encoder(self) -> Any:
        return self._subject().model().encoder

    def _formats(self) -> Sequence[str]:
        if self.formats is not None:
            return self.formats
        # An encoder that is not registered is for a test to find, not for pytest's collection.
        return self._subject().spec.formats if self.encoder in registry().encoders else ()


def _field_names(cls: type) -> set[str]:
    return {field.name for field in fields_help(cls)}
