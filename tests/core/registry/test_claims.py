"""What encoders claim about formats and clients."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calve.bundles.bundle import Bundle
from calve.errors import ConfigError, PluginError
from calve.exporting.verification import verify
from calve.registry.catalog import registry
from calve.registry.claims import check_format_is_claimed, claimed_clients, claimed_formats

RECIPE = "lstm_transducer_stateless2"


def names(encoder: str, format_name: str) -> list[str]:
    return [client.name for client in claimed_clients(encoder, format_name)]


@pytest.fixture
def writer_that_names_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = registry().metadata_writers
    shy = replace(writers.get(("lstm", "ncnn")), clients=())
    monkeypatch.setattr(writers, "get", lambda name: shy)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_format_is_claimed_or_refused_with_the_claimed_ones():
    check_format_is_claimed(RECIPE, "ncnn")
    with pytest.raises(ConfigError, match="cannot be exported to abacus") as caught:
        check_format_is_claimed(RECIPE, "abacus")
    assert "ncnn" in str(caught.value.fix)


@pytest.mark.usefixtures("bundled_plugins")
def test_an_exporter_can_claim_an_encoder_that_does_not_know_of_it(
    monkeypatch: pytest.MonkeyPatch,
):
    exporters = registry().exporters
    obliging = replace(exporters.get("ncnn"), format="abacus", encoders=("lstm",))
    monkeypatch.setattr(exporters, "names", lambda: ["ncnn", "abacus"])
    monkeypatch.setattr(exporters, "get", lambda name: obliging)
    check_format_is_claimed(RECIPE, "abacus")
    assert claimed_formats("lstm")[-1] == "abacus"
    with pytest.raises(ConfigError, match="cannot be exported to abacus"):
        check_format_is_claimed("pruned_transducer_stateless5", "abacus")


@pytest.mark.usefixtures("bundled_plugins")
def test_all_clients_of_a_format_open_a_bundle_unless_the_metadata_writer_names_some():
    assert names("lstm", "ncnn") == ["sherpa-ncnn"]
    assert names("an encoder without a metadata writer", "ncnn") == ["sherpa-ncnn"]
    assert names("lstm", "state-dict") == []


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.usefixtures("writer_that_names_no_client")
def test_a_metadata_writer_can_exclude_a_client():
    assert names("lstm", "ncnn") == []


@pytest.mark.usefixtures("writer_that_names_no_client")
def test_verify_does_not_run_a_client_that_does_not_know_the_encoder(golden_bundle: Bundle):
    (client,) = [c for c in verify(golden_bundle.path) if c.name == "sherpa-ncnn"]
    assert client.outcome == "skipped"
    assert "does not know the encoder 'lstm'" in client.detail


def test_an_unknown_format_is_an_error():
    with pytest.raises(PluginError, match="abacus"):
        claimed_clients("lstm", "abacus")
