from __future__ import annotations

import json

import pytest
import torch
from click.testing import Result
from invoking import invoke

from calve.errors import ConfigError, PluginError
from calve_bench.commands import bench_streaming
from calve_bench.streaming import benchmark_streaming

RECIPE = "pruned_transducer_stateless5"
SMALL = {
    "num_encoder_layers": 1,
    "encoder_dim": 16,
    "nhead": 2,
    "dim_feedforward": 24,
    "cnn_module_kernel": 5,
    "causal_convolution": True,
}
OPTIONS = {"encoder": SMALL, "model": {"vocab_size": 20, "decoder_dim": 16, "joiner_dim": 16}}


def run(*arguments: str) -> Result:
    options = [
        part
        for name, value in (SMALL | OPTIONS["model"]).items()
        for part in (f"--{name.replace('_', '-')}", str(int(value)))
    ]
    return invoke(bench_streaming, [RECIPE, *options, "--seconds", "2", *arguments])


def test_shares_and_throughput_of_each_number_of_streams() -> None:
    threads = torch.get_num_threads()
    rows = benchmark_streaming(RECIPE, OPTIONS, streams=(1, 3), seconds=8.0, runs=2)
    assert [row.streams for row in rows] == [1, 3]
    for row in rows:
        assert 0 < row.throughput <= row.fastest
        assert row.step_p50_ms > 0
        assert 0 < row.encoder < row.encoder + row.outside < 1
        assert 0.05 < row.emitting < 0.35
    assert torch.get_num_threads() == threads


def test_a_larger_encoder_takes_a_larger_share() -> None:
    larger = OPTIONS | {"encoder": SMALL | {"num_encoder_layers": 6}}
    (one,), (six,) = (
        benchmark_streaming(RECIPE, options, streams=(2,), seconds=2.0, runs=2)
        for options in (OPTIONS, larger)
    )
    assert six.encoder > one.encoder


def test_what_is_impossible_is_said_before_anything_is_measured() -> None:
    with pytest.raises(PluginError, match="no decoding method 'gredy_search'"):
        benchmark_streaming(RECIPE, OPTIONS, method="gredy_search", runs=10**9)
    with pytest.raises(ConfigError, match="needs a value for LG"):
        benchmark_streaming(RECIPE, OPTIONS, method="fast_beam_search_LG", runs=10**9)
    with pytest.raises(ConfigError, match="cannot stream"):
        benchmark_streaming(
            RECIPE, OPTIONS | {"encoder": SMALL | {"causal_convolution": False}}, runs=10**9
        )


def test_the_command_prints_a_row_for_each_number_of_streams() -> None:
    arguments = ["--num-decode-streams", "2", "--num-decode-streams", "1", "--runs", "1"]
    table = run(*arguments)
    assert table.exit_code == 0, table.output
    assert [line.split()[0] for line in table.stdout.splitlines()[2:]] == ["2", "1"]
    printed = json.loads(run(*arguments, "--json").stdout)
    assert [row["streams"] for row in printed["rows"]] == [2, 1]
