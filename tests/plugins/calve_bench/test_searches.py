from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from invoking import invoke

from calve.errors import PluginError
from calve_bench.commands import bench_search
from calve_bench.searches import benchmark_searches, make_problem


def test_all_methods_find_a_symbol_in_about_every_sixth_frame():
    threads = torch.get_num_threads()
    jobs = [("greedy_search", 4), ("modified_beam_search", 4)]
    rows = benchmark_searches(jobs, {"modified_beam_search": {"beam": 3}}, runs=2)
    assert [(row.method, row.utterances) for row in rows] == jobs
    for row in rows:
        assert 0.14 < row.emitting < 0.20
        assert 0 < row.outside < 1
        assert -100 < row.score < 0
        assert 0 < row.fastest <= row.milliseconds
    assert torch.get_num_threads() == threads


def test_the_problem_is_the_same_in_every_run():
    one, two = make_problem(2), make_problem(2)
    np.testing.assert_array_equal(one.utterances, two.utterances)
    contexts = np.array([[3, 4], [0, 0]])
    np.testing.assert_array_equal(
        one.session.decode_context(contexts), two.session.decode_context(contexts)
    )


def test_an_unknown_method_is_an_error_before_anything_is_measured():
    with pytest.raises(PluginError, match="no decoding method 'gredy_search'"):
        benchmark_searches([("greedy_search", 10**9), ("gredy_search", 1)])


def test_the_command_prints_one_row_for_each_method_and_number_of_utterances():
    arguments = ["--decoding-method", "greedy_search", "--utterances", "2", "--runs", "1"]
    table = invoke(bench_search, arguments)
    assert table.exit_code == 0, table.output
    assert "greedy_search" in table.stdout
    printed = json.loads(invoke(bench_search, [*arguments, "--json"]).stdout)
    assert [row["method"] for row in printed["rows"]] == ["greedy_search"]
