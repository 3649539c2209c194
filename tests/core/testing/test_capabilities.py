"""The capability matrix: what is tried, and what a claim that is not true looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calve.common.references import LazyRef
from calve.errors import ConfigError, ExportError, PluginError
from calve.registry.catalog import registry
from calve.registry.specs import ExportStepSpec
from calve.testing.capabilities import Cell, capabilities, variants
from calve.testing.capability_page import capability_page
from calve.testing.tiny import make_tiny_model

RECIPE = "lstm_transducer_stateless2"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "capabilities.md"

Key = tuple[str, str, str, str, str]


def planned() -> dict[Key, bool]:
    """Every cell, and whether it is claimed."""
    return {
        (one.recipe, one.format, one.mode, one.precision, runtime): one.is_claimed(runtime)
        for one in variants()
        for runtime in one.runtimes
    }


def distinct_recipes() -> list[str]:
    """One recipe for each encoder and family; others differ in numbers only."""
    found = {(one.encoder, one.family): one.name for one in registry().recipes}
    return list(found.values())


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``replaced(table, name, **changes)``: a spec of the registry with other fields."""

    def replaced(table: Any, name: str, **changes: Any) -> None:
        original, changed = table.get, replace(table.get(name), **changes)
        monkeypatch.setattr(table, "get", lambda key: changed if key == name else original(key))

    return replaced


def break_the_export(workspace: Any) -> None:
    raise ExportError("the step broke")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", distinct_recipes())
def test_every_claim_is_true_and_everything_that_works_is_claimed(recipe: str):
    cells = list(capabilities([recipe]))
    assert [cell.complaint for cell in cells if not cell.agrees] == []
    assert [cell for cell in cells if cell.outcome == "skipped"] == []
    keys = [(one.recipe, one.format, one.mode, one.precision, one.runtime) for one in cells]
    assert keys == [key for key in planned() if key[0] == recipe]


@pytest.mark.usefixtures("bundled_plugins")
def test_all_precisions_quantizers_and_clients_of_a_format_are_tried():
    found = {key[2:] for key in planned() if key[:2] == (RECIPE, "ncnn")}
    assert found == {
        ("streaming", precision, runtime)
        for precision in ("fp32", "fp16", "int8")
        for runtime in ("ncnn", "sherpa-ncnn")
    }


@pytest.mark.usefixtures("bundled_plugins")
def test_a_claimed_format_that_works_agrees_with_its_claim():
    streaming, offline = capabilities([RECIPE], ["state-dict"])
    assert [streaming.mode, offline.mode] == ["streaming", "offline"]
    for cell in (streaming, offline):
        assert (cell.claimed, cell.outcome, cell.agrees) == (True, "passed", True)
        assert (cell.max_abs_error, cell.tokens_equal) == (0.0, True)


@pytest.mark.usefixtures("bundled_plugins")
def test_an_offline_cell_is_of_a_model_that_cannot_stream_where_the_encoder_has_such():
    (cell,) = (
        cell
        for cell in capabilities(["pruned_transducer_stateless2"], ["state-dict"])
        if cell.mode == "offline"
    )
    assert (cell.claimed, cell.outcome, cell.tokens_equal) == (True, "passed", True)
    options = registry().encoders.get("conformer")
    tiny = make_tiny_model(cell.recipe, {**options.tiny, **options.tiny_offline})
    with pytest.raises(ConfigError, match="cannot stream"):
        tiny.model.encoder.init_states(1)


@pytest.mark.usefixtures("bundled_plugins")
def test_a_format_that_works_but_is_not_claimed_is_found(replaced: Callable[..., None]):
    replaced(registry().encoders, "lstm", formats=("ncnn",))
    cell, _ = capabilities([RECIPE], ["state-dict"])
    assert cell.outcome == "passed"
    assert not cell.agrees
    assert (
        cell.complaint
        == f"{RECIPE}, streaming state-dict fp32 in state-dict passes and is not claimed"
    )


@pytest.mark.usefixtures("bundled_plugins")
def test_a_claimed_format_that_fails_is_found(replaced: Callable[..., None]):
    step = ExportStepSpec("break", "break", LazyRef(f"{__name__}:break_the_export"))
    replaced(registry().exporters, "state-dict", steps=(step,))
    cell, _ = capabilities([RECIPE], ["state-dict"])
    assert not cell.agrees
    assert "is claimed and fails: " in cell.complaint
    assert "the step broke" in cell.detail


@pytest.mark.usefixtures("bundled_plugins")
def test_a_precision_that_the_options_do_not_give_is_a_failure(replaced: Callable[..., None]):
    replaced(registry().exporters, "state-dict", precisions={"fp16": {}})
    cell, _ = capabilities([RECIPE], ["state-dict"])
    assert (cell.precision, cell.outcome) == ("fp16", "failed")
    assert cell.detail == "the weights are fp32, not fp16"


@pytest.mark.usefixtures("bundled_plugins")
def test_a_client_is_tried_though_the_metadata_writer_does_not_name_it(
    replaced: Callable[..., None],
):
    replaced(registry().metadata_writers, ("lstm", "onnx"), clients=())
    replaced(registry().exporters, "onnx", precisions={"fp32": {"precision": "fp32"}})
    own, client = capabilities([RECIPE], ["onnx"])
    assert (own.runtime, own.claimed, own.outcome) == ("onnx", True, "passed")
    assert (client.runtime, client.claimed, client.outcome) == ("sherpa-onnx", False, "passed")
    assert not client.agrees


@pytest.mark.usefixtures("bundled_plugins")
def test_a_missing_package_is_no_verdict(
    replaced: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    requires = ["no-such-runtime>=1; extra == 'onnx'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda distribution: requires)
    cells = list(capabilities([RECIPE], ["onnx"]))
    assert {(cell.outcome, cell.detail, cell.agrees) for cell in cells} == {
        ("skipped", "not installed: no-such-runtime>=1", True)
    }


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize("names", [(["no_such_recipe"], None), (None, ["no_such_format"])])
def test_an_unknown_name_is_an_error(names: Any):
    with pytest.raises(PluginError, match="no_such"):
        list(capabilities(*names))


@pytest.mark.usefixtures("bundled_plugins")
def test_a_tiny_model_is_the_same_in_every_run_and_leaves_the_random_state_alone():
    import torch

    before = torch.random.get_rng_state()
    first, second = make_tiny_model(RECIPE), make_tiny_model(RECIPE)
    assert torch.equal(before, torch.random.get_rng_state())
    weights = first.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in second.model.state_dict().items())
    assert sum(value.numel() for value in weights.values()) < 50_000


@pytest.mark.usefixtures("bundled_plugins")
def test_models_that_stay_silent_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("calve.testing.tiny._MIN_WORDS", 31)
    monkeypatch.setattr("calve.testing.tiny._SEEDS", 2)
    with pytest.raises(PluginError, match="none of 2 random models"):
        make_tiny_model(RECIPE)


def cell(**changes: Any) -> Cell:
    values = {
        "recipe": "r",
        "format": "f",
        "mode": "streaming",
        "precision": "fp32",
        "made_by": "export",
        "runtime": "own",
        "claimed": True,
        "outcome": "passed",
        "detail": "",
    }
    return Cell(**values | changes)


def test_the_page_names_each_verdict():
    page = capability_page(
        [
            cell(max_abs_error=2e-6),
            cell(runtime="theirs", outcome="failed"),
            cell(runtime="others", claimed=False),
            cell(runtime="nobody", claimed=False, outcome="failed"),
            cell(runtime="absent", outcome="skipped"),
            cell(runtime="whole", mode="offline"),
        ]
    )
    rows = {line.split(" | ")[4]: line for line in page.splitlines() if line.startswith("| `f`")}
    assert rows["own"].endswith("| own | passes | 2e-06 |")
    assert "**fails**" in rows["theirs"]
    assert "**passes, not claimed**" in rows["others"]
    assert rows["nobody"].endswith("| nobody | no |  |")
    assert "not tried" in rows["absent"]
    assert rows["whole"].startswith("| `f` | offline | fp32 |")
    assert "| r | own (fp32), others (fp32), whole offline (fp32) |" in page


def rows_of(page: str) -> Iterator[tuple[Key, str]]:
    recipe = ""
    for line in page.splitlines():
        if line.startswith("## "):
            recipe = line.removeprefix("## ")
        pattern = r"\| `([^`]+)` \| (\S+) \| (\S+) \| \S+ \| (\S+) \| ([^|]+) \|"
        if match := re.match(pattern, line):
            *key, verdict = match.groups()
            yield (recipe, *key), verdict.strip()


@pytest.mark.usefixtures("bundled_plugins")
def test_the_page_in_the_documentation_shows_what_is_registered_and_claimed():
    """If it fails: ``calve plugins matrix --page docs/capabilities.md``."""
    shown = dict(rows_of(PAGE.read_text(encoding="utf-8")))
    assert shown == {key: "passes" if claimed else "no" for key, claimed in planned().items()}


@pytest.mark.usefixtures("bundled_plugins")
def test_the_command_prints_the_cells_and_exits_with_1_if_a_claim_is_wrong(
    replaced: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    from calve.cli.application import run

    command = ["plugins", "matrix", "--recipe", RECIPE, "--format", "state-dict"]
    page = tmp_path / "page.md"
    assert run([*command, "--page", str(page)]) == 0
    assert "passes" in capsys.readouterr().out
    assert [verdict for _, verdict in rows_of(page.read_text())] == ["passes", "passes"]
    replaced(registry().encoders, "lstm", formats=())
    assert run([*command, "--json"]) == 1
    printed = capsys.readouterr()
    assert [one["agrees"] for one in json.loads(printed.out)] == [False, False]
    assert "state-dict passes and is not claimed" in printed.err
