from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hum_training import BATCHES_PER_EPOCH, Metrics, train_hums
from invoking import invoke
from torch.utils.tensorboard import SummaryWriter

from calve.api import CalveError, ConfigError
from calve.scoring.error_rates import DecodedUtterance, score
from calve.scoring.result_files import ResultFiles, write_results
from calve_transducer.commands import plot
from calve_transducer.training.curves import Curve, Panel, draw, read_panels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    """Two epochs, of which the second was stopped and continued."""
    exp_dir = tmp_path_factory.mktemp("curves") / "exp"
    metrics = train_hums(exp_dir, num_epochs=2, save_every_n=12)
    continued = train_hums(exp_dir, num_epochs=2, save_every_n=12, start_batch=12)
    assert continued[13] == metrics[13]
    for epoch, words in ((2, "one two"), (1, "one")):
        utterances = [DecodedUtterance("a", "one two", words)]
        files = ResultFiles.named(
            exp_dir / "greedy_search", "test", "greedy_search", f"epoch-{epoch}-avg-1"
        )
        write_results(files, "a title", utterances, score(utterances))
    return exp_dir, metrics


def panels_by_title(exp_dir: Path) -> dict[str, Panel]:
    return {panel.title: panel for panel in read_panels(exp_dir)}


def test_curves_hold_each_batch_once(trained: tuple[Path, Metrics]) -> None:
    exp_dir, metrics = trained
    losses = {curve.label: curve.points for curve in panels_by_title(exp_dir)["Losses"].curves}
    expected = {step: metrics[step]["simple_loss"] for step in metrics}
    assert [x for x, _ in losses["simple, training"]] == sorted(expected)
    assert dict(losses["simple, training"]) == pytest.approx(expected)
    assert [x for x, _ in losses["pruned, validation"]] == [
        BATCHES_PER_EPOCH,
        2 * BATCHES_PER_EPOCH,
    ]


def test_a_pipe_among_the_files_of_tensorboard_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    os.mkfifo(tmp_path / "tensorboard" / "events.out.tfevents.1")
    with pytest.raises(CalveError, match="this is a pipe, not a file of TensorBoard"):
        read_panels(tmp_path)


def test_losses_are_drawn_by_orders_of_magnitude_while_they_are_positive(
    trained: tuple[Path, Metrics], tmp_path: Path
) -> None:
    assert panels_by_title(trained[0])["Losses"].y_scale == "log"
    with SummaryWriter(tmp_path / "tensorboard") as writer:
        for step, loss in enumerate((0.5, -0.1)):
            writer.add_scalar("train/pruned_loss", loss, step)
    assert panels_by_title(tmp_path)["Losses"].y_scale == "linear"


def test_error_rates_are_found_beside_the_checkpoints(trained: tuple[Path, Metrics]) -> None:
    panel = panels_by_title(trained[0])["Error rate after epochs"]
    (curve,) = panel.curves
    assert curve.label == "test-greedy_search-avg-1"
    assert curve.points == [(1, 50.0), (2, 0.0)]


def test_a_picture_shows_the_panels(trained: tuple[Path, Metrics], tmp_path: Path) -> None:
    result = invoke(plot, [str(trained[0]), "--output", str(tmp_path / "a.svg")])
    assert result.exit_code == 0, result.output
    drawn = (tmp_path / "a.svg").read_text()
    for text in ("Losses", "Learning rate", "test-greedy_search-avg-1", "simple, validation"):
        assert text in drawn
    draw(read_panels(trained[0]), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


def test_an_unknown_picture_format_is_an_error(
    trained: tuple[Path, Metrics], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no picture format") as raised:
        draw(read_panels(trained[0]), tmp_path / "a.bmpx")
    assert "svg" in str(raised.value.fix)


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to plot"):
        read_panels(tmp_path)


@pytest.mark.parametrize("label", ["$x_1$", "$ alone", "<b> & 'c'", "\x1b[31mred"])
def test_a_name_is_drawn_as_it_is(tmp_path: Path, label: str) -> None:
    draw([Panel("title", "x", "y", [Curve(label, [(1, 2), (2, 3)])])], tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert label.replace("\x1b", r"\x1b") in [one.text for one in root.iter()]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["tensorboard/events.out.tfevents.1", "wer-summary-a-epoch-1.txt"])
def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    (tmp_path / "tensorboard").mkdir()
    make(tmp_path / name)
    with pytest.raises(CalveError, match=re.escape(name)):
        read_panels(tmp_path)


@pytest.mark.parametrize("rate", ["nan", "inf", "undefined", ""])
def test_an_error_rate_that_is_no_number_is_left_out(tmp_path: Path, rate: str) -> None:
    (tmp_path / "wer-summary-a-epoch-1.txt").write_text(f"settings\tWER\na\t{rate}\n")
    (tmp_path / "wer-summary-a-epoch-2.txt").write_text("settings\tWER\na\t3.5\n")
    (tmp_path / f"wer-summary-a-epoch-{'9' * 200}.txt").write_text("settings\tWER\na\t3.5\n")
    (panel,) = read_panels(tmp_path)
    assert [curve.points for curve in panel.curves] == [[(2, 3.5)]]
