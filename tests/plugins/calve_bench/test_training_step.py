from __future__ import annotations

import json
from itertools import islice

import pytest
import torch
from click.testing import Result
from invoking import invoke

from calve_bench.commands import bench_training
from calve_bench.training_step import PARTS, Noise

SMALL = (
    *("--num-encoder-layers", "1", "--encoder-dim", "16", "--rnn-hidden-size", "24"),
    *("--decoder-dim", "16", "--joiner-dim", "16", "--vocab-size", "20"),
    *("--batch-size", "2", "--seconds", "0.5", "--symbols", "3"),
)


def run(*arguments: str) -> Result:
    torch.set_num_threads(1)
    return invoke(bench_training, ["lstm_transducer_stateless2", *arguments])


def test_noise_has_the_wanted_size_and_other_symbols_each_time() -> None:
    loader = Noise(batch_size=2, seconds=0.5, symbols=3, vocab_size=20)
    first, second = islice(loader, 2)
    assert first.features.shape == (2, 50, 80)
    assert first.feature_lens.tolist() == [50, 50]
    assert [len(tokens) for tokens in first.tokens] == [3, 3]
    assert first.tokens != second.tokens
    loader.load_state_dict({"index": 1})
    assert next(iter(loader)).tokens == second.tokens


def test_the_parts_of_a_step_add_up() -> None:
    result = run(*SMALL, "--steps", "2", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert tuple(found["seconds"]) == PARTS
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert sum(found["seconds"].values()) == pytest.approx(found["total"])
    assert found["processor"] > 0


@pytest.mark.parametrize("impossible", [("--symbols", "100"), ("--seconds", "0.01")])
def test_utterances_that_cannot_be_trained_on_are_an_error(impossible: tuple[str, ...]) -> None:
    result = run(*SMALL, *impossible)
    assert result.exit_code == 2
    assert "cannot be trained on" in result.output


def test_a_larger_encoder_takes_a_larger_share() -> None:
    shares = []
    for layers in ("1", "6"):
        found = json.loads(run(*SMALL, "--num-encoder-layers", layers, "--json").stdout)
        shares.append(found["seconds"]["encoder"] / found["total"])
    assert shares[1] > shares[0]


def test_a_table_shows_the_parts_and_the_whole() -> None:
    result = run(*SMALL, "--steps", "1")
    assert [line.split()[0] for line in result.stdout.splitlines()[3:]] == [*PARTS, "step"]
    assert "utterances/s" in result.stdout
