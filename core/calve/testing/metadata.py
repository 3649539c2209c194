"""Conformance tests of metadata writers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from calve.data.geometry import StreamingGeometry
from calve.registry.catalog import registry
from calve.registry.specs import MetadataWriterSpec
from calve.testing.checks import check_light_import, check_registered_once, names_of, require
from calve.testing.subjects import Subject
from calve.testing.trials import exported

__all__ = ["MetadataWriterConformance", "check_table"]

_CHUNKS = 3


class MetadataWriterConformance:
    """Tests of the metadata writer for an encoder and a format.

    Attributes:
      encoder: Name of the encoder.
      format: Name of the export format.
      recipe: A recipe with this encoder.
    """

    encoder: ClassVar[str]
    format: ClassVar[str]
    recipe: ClassVar[str]

    def test_it_is_the_only_one_for_this_encoder_and_format(self) -> None:
        check_registered_once(registry().metadata_writers, (self.encoder, self.format))
        check_registered_once(registry().encoders, self.encoder)
        check_registered_once(registry().exporters, self.format)

    def test_importing_the_plugin_imports_nothing_heavy(self) -> None:
        source = registry().metadata_writers.source((self.encoder, self.format))
        check_light_import(source.target, self._spec().table)

    def test_its_table_is_a_pure_function_of_sizes(self) -> None:
        check_table(self._spec(), self._subject().config["encoder"])

    def test_its_clients_are_those_of_the_format(self) -> None:
        known = {client.name for client in registry().exporters.get(self.format).clients}
        unknown = set(self._spec().clients or ()) - known
        require(
            not unknown,
            f"{self.format} has no client {names_of(unknown)}; it has {names_of(known)}",
        )

    def test_it_names_every_state(self) -> None:
        names = self._spec().state_names
        states = list(self._arranged(self._subject().plain_encoder()).init_states(1))
        require(
            len(names) in (0, len(states)) and len(set(names)) == len(names),
            f"it names the states {names_of(names)}; the encoder has {names_of(states)}",
        )

    def test_its_arrangement_of_the_states_computes_the_same(self) -> None:
        import torch

        encoder = self._subject().plain_encoder()
        form = self._export_form(encoder)
        arranged = self._arranged(encoder)
        geometry: StreamingGeometry = form.geometry
        generator = torch.Generator().manual_seed(0)
        plain, other = form.init_states(1), arranged.init_states(1)
        for _ in range(_CHUNKS):
            x = torch.randn(1, geometry.segment, form.feature_dim, generator=generator)
            x_lens = torch.tensor([float(geometry.segment)])
            with torch.no_grad():
                expected, _, plain = form.stream(x, x_lens, plain)
                actual, _, other = arranged.stream(x, x_lens, other)
            require(
                expected.shape == actual.shape
                and bool(torch.allclose(expected, actual, rtol=0, atol=1e-5)),
                "with the states as the runtime keeps them, the encoder answers differently",
            )

    def test_the_format_gives_back_what_was_stamped(self) -> None:
        exporter = registry().exporters.get(self.format)
        require(
            exporter.metadata is not None,
            f"the format {self.format} has no place for metadata, so nobody reads the table",
        )
        assert exporter.metadata is not None
        with exported(self.recipe, self.format) as bundle:
            table = self._table()
            stamped = exporter.metadata.load().read(bundle.path)
        require(stamped == table, f"{table} was stamped, and {stamped} is read")

    def _spec(self) -> MetadataWriterSpec:
        return registry().metadata_writers.get((self.encoder, self.format))

    def _subject(self) -> Subject:
        return Subject(self.encoder, self.recipe)

    def _table(self) -> Mapping[str, int | str]:
        table: Mapping[str, int | str] = self._spec().table.load()(
            self._subject().config["encoder"], self._subject().plain_encoder().geometry
        )
        return table

    def _export_form(self, encoder: Any) -> Any:
        form = registry().encoders.get(self.encoder).export_form
        return encoder if form is None else form.load()(encoder)

    def _arranged(self, encoder: Any) -> Any:
        arrange = self._spec().arrange
        form = self._export_form(encoder)
        return form if arrange is None else arrange.load()(form)


def check_table(writer: MetadataWriterSpec, config: Any) -> None:
    """Check that a table contains integers and strings and depends only on sizes."""
    encoder = registry().encoders.get(writer.encoder).build.load()(config)
    geometry: StreamingGeometry = encoder.geometry
    make = writer.table.load()
    before = copy.deepcopy(config)
    first, second = make(config, geometry), make(config, geometry)
    require(
        first == second and config == before,
        f"asked twice, the metadata writer says {first} and then {second}",
    )
    require(bool(first), "the metadata writer says nothing")
    odd = [
        f"{key} = {value!r}"
        for key, value in first.items()
        if not isinstance(key, str) or type(value) not in (int, str)
    ]
    require(not odd, f"only whole numbers and texts can be stamped, not {', '.join(odd)}")
    require(json.loads(json.dumps(first)) == first, f"{first} changes when it is written as JSON")
