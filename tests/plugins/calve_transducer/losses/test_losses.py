from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from calve.api import ConfigError, PluginError
from calve.registry.discovery import load_driver
from calve_transducer.losses import compiled, logprobs, wavefront
from calve_transducer.losses.backend import TorchLossBackend

losses = TorchLossBackend

CASES = [
    *("tiny", "one_symbol", "s0_utt", "batch4", "batch4_flat", "v60", "large_scale", "unreachable"),
    *("scales00", "scales12", "delay", "delay_nobnd", "blank_nonzero", "double"),
    *("modified", "modified_delay", "constrained"),
]

CASES_WITH_FULL_JOINER = [
    *("tiny", "one_symbol", "s0_utt", "unreachable", "scales00", "delay"),
    *("delay_nobnd", "blank_nonzero", "double", "modified", "constrained"),
]


@pytest.fixture(scope="module")
def golden_cases(goldens: Path) -> dict[str, dict[str, Any]]:
    loaded = torch.load(goldens / "rnnt_loss.pt", weights_only=True)
    return {case["name"]: case for case in loaded["cases"]}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden_cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return golden_cases[request.param]


def test_every_golden_case_is_tested(golden_cases: dict[str, dict[str, Any]]) -> None:
    assert sorted(golden_cases) == sorted(CASES)
    full = [name for name, case in golden_cases.items() if "full" in case]
    assert sorted(full) == sorted(CASES_WITH_FULL_JOINER)


def assert_near(actual: Tensor, expected: Tensor, relative: float = 1e-4) -> None:
    """Equal infinities; elsewhere at most ``relative`` of the largest expected magnitude."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    actual, finite = actual.detach(), expected.isfinite()
    assert torch.equal(actual[~finite], expected[~finite])
    if finite.any():
        largest_error = (actual[finite] - expected[finite]).abs().max()
        assert largest_error <= relative * expected[finite].abs().max()


def options(case: dict[str, Any]) -> dict[str, Any]:
    return {key: case[key] for key in ("boundary", "rnnt_type", "delay_penalty")}


def gradient(losses_per_utterance: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    finite = losses_per_utterance[losses_per_utterance.isfinite()]
    return torch.autograd.grad(finite.sum(), inputs)


@pytest.mark.parametrize("kind", ["smoothed", "simple"])
def test_simple_losses_and_gradients_equal_k2(case: dict[str, Any], kind: str) -> None:
    expected = case[kind]
    lm, am = (case[key].clone().requires_grad_() for key in ("lm", "am"))
    extra = {}
    function = losses.rnnt_loss_simple
    if kind == "smoothed":
        function = losses.rnnt_loss_smoothed
        extra = {key: case[key] for key in ("lm_only_scale", "am_only_scale")}
    arguments = (lm, am, case["symbols"], case["termination_symbol"])
    loss, (px_grad, py_grad) = function(
        *arguments, **options(case), **extra, reduction="none", return_grad=True
    )
    assert_near(loss, expected["loss"]["none"], 1e-5)
    for reduction in ("sum", "mean"):
        reduced = function(*arguments, **options(case), **extra, reduction=reduction)
        assert_near(reduced, expected["loss"][reduction], 1e-5)
    assert_near(px_grad, expected["px_grad"])
    assert_near(py_grad, expected["py_grad"])
    lm_grad, am_grad = gradient(loss, lm, am)
    assert_near(lm_grad, expected["lm_grad"])
    assert_near(am_grad, expected["am_grad"])


def test_arcs_equal_k2(case: dict[str, Any]) -> None:
    arguments = (case["lm"], case["am"], case["symbols"], case["termination_symbol"])
    kind = case["rnnt_type"]
    if "px" in case["smoothed"]:
        px, py = logprobs.get_rnnt_logprobs_smoothed(
            *arguments, case["lm_only_scale"], case["am_only_scale"], case["boundary"], kind
        )
        assert_near(px, case["smoothed"]["px"])
        assert_near(py, case["smoothed"]["py"])
    if "simple_px" in case:
        px, py = logprobs.get_rnnt_logprobs(*arguments, kind, case["boundary"])
        assert_near(px, case["simple_px"])
        assert_near(py, case["simple_py"])


def test_prune_ranges_are_exactly_those_of_k2(case: dict[str, Any]) -> None:
    grads = (case["smoothed"]["px_grad"], case["smoothed"]["py_grad"])
    for pruned in case["pruned"]:
        ranges = losses.get_rnnt_prune_ranges(*grads, case["boundary"], pruned["s_range"])
        assert torch.equal(ranges, pruned["ranges"])


def test_pruned_loss_and_gradient_equal_k2(case: dict[str, Any]) -> None:
    for pruned in case["pruned"]:
        logits = pruned["logits"].clone().requires_grad_()
        arguments = (logits, case["symbols"], pruned["ranges"], case["termination_symbol"])
        loss = losses.rnnt_loss_pruned(*arguments, **options(case), reduction="none")
        assert_near(loss, pruned["loss"]["none"], 1e-5)
        for reduction in ("sum", "mean"):
            reduced = losses.rnnt_loss_pruned(*arguments, **options(case), reduction=reduction)
            assert_near(reduced, pruned["loss"][reduction], 1e-5)
        assert_near(gradient(loss, logits)[0], pruned["logits_grad"])
        if "px" in pruned:
            px, py = logprobs.get_rnnt_logprobs_pruned(
                *arguments, case["boundary"], case["rnnt_type"]
            )
            assert_near(px, pruned["px"])
            assert_near(py, pruned["py"])


def test_pruned_network_outputs_equal_k2(case: dict[str, Any]) -> None:
    for pruned in case["pruned"]:
        if "enc" in pruned:
            am, lm = losses.do_rnnt_pruning(pruned["enc"], pruned["dec"], pruned["ranges"])
            assert torch.equal(am, pruned["am_pruned"])
            assert torch.equal(lm, pruned["lm_pruned"])


@pytest.mark.parametrize("case", CASES_WITH_FULL_JOINER, indirect=True)
def test_full_loss_and_gradient_equal_k2(case: dict[str, Any]) -> None:
    logits = case["full"]["logits"].clone().requires_grad_()
    loss = losses.rnnt_loss(
        logits, case["symbols"], case["termination_symbol"], **options(case), reduction="none"
    )
    assert_near(loss, case["full"]["loss"]["none"], 1e-5)
    assert_near(gradient(loss, logits)[0], case["full"]["logits_grad"])


def random_lattice(
    *, modified: bool, seed: int = 0, batch_size: int = 3, symbols: int = 5, frames: int = 9
) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    px = torch.randn(batch_size, symbols, frames if modified else frames + 1, dtype=torch.float64)
    py = torch.randn(batch_size, symbols + 1, frames, dtype=torch.float64)
    if not modified:
        px[:, :, -1] = -math.inf
    ends = [[0, 0, symbols, frames], [1, 2, symbols - 1, frames - 1], [0, 0, 0, frames - 3]]
    return px, py, torch.tensor((ends * batch_size)[:batch_size])


def brute_force(px: Tensor, py: Tensor, boundary: Tensor, step: int) -> float:
    """Log of the sum over every path, each written out."""
    s_begin, t_begin, s_end, t_end = boundary.tolist()

    def paths(s: int, t: int) -> list[float]:
        if (s, t) == (s_end, t_end):
            return [0.0]
        found = []
        if t < t_end:
            found += [float(py[s, t]) + rest for rest in paths(s, t + 1)]
        if s < s_end and t + step <= t_end and (step == 0 or t < t_end):
            found += [float(px[s, t]) + rest for rest in paths(s + 1, t + step)]
        return found

    return float(torch.tensor(paths(s_begin, t_begin), dtype=torch.float64).logsumexp(0))


@pytest.mark.parametrize("recursion", [compiled, wavefront])
@pytest.mark.parametrize("modified", [False, True])
def test_scores_are_the_sum_over_all_paths(recursion: Any, modified: bool) -> None:
    px, py, boundary = random_lattice(modified=modified, symbols=3, frames=5)
    scores, _, _ = recursion.forward_backward(px, py, boundary)
    expected = [
        brute_force(*utterance, step=int(modified))
        for utterance in zip(px, py, boundary, strict=True)
    ]
    assert scores.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("modified", [False, True])
def test_both_recursions_agree(modified: bool) -> None:
    lattice = random_lattice(modified=modified, batch_size=7, symbols=11, frames=30)
    for a, b in zip(
        compiled.forward_backward(*lattice), wavefront.forward_backward(*lattice), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("recursion", [compiled, wavefront])
@pytest.mark.parametrize("modified", [False, True])
def test_an_utterance_without_a_path_scores_minus_infinity_and_has_zero_gradient(
    recursion: Any, modified: bool
) -> None:
    px, py, boundary = random_lattice(modified=modified)
    px[0, 2] = -math.inf
    scores, px_grad, py_grad = recursion.forward_backward(px, py, boundary)
    assert scores[0] == -math.inf
    assert not px_grad[0].any()
    assert not py_grad[0].any()
    assert scores[1:].isfinite().all()
    assert py_grad[1:].any()


@pytest.mark.parametrize("recursion", [compiled, wavefront])
def test_nan_is_not_swallowed(recursion: Any) -> None:
    px, py, boundary = random_lattice(modified=False)
    py[0, 0, 0] = math.nan
    scores, _, _ = recursion.forward_backward(px, py, boundary)
    assert scores[0].isnan()
    assert scores[1:].isfinite().all()


def test_threads_share_the_batch_without_changing_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lattice = random_lattice(modified=False, batch_size=7, symbols=11, frames=30)
    alone = compiled.forward_backward(*lattice)
    monkeypatch.setattr(compiled, "_CELLS_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for a, b in zip(alone, compiled.forward_backward(*lattice), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rnnt_type", logprobs.RNNT_TYPES)
def test_gradients_pass_gradcheck(rnnt_type: str) -> None:
    torch.manual_seed(1)
    lm = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    am = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    symbols = torch.randint(1, 5, (2, 3))
    boundary = torch.tensor([[0, 0, 3, 6], [0, 0, 2, 5]])
    common = {"boundary": boundary, "rnnt_type": rnnt_type, "delay_penalty": 0.1}
    torch.autograd.gradcheck(
        lambda lm, am: losses.rnnt_loss_simple(lm, am, symbols, 0, **common), (lm, am)
    )
    torch.autograd.gradcheck(
        lambda lm, am: losses.rnnt_loss_smoothed(lm, am, symbols, 0, 0.25, 0.1, **common),
        (lm, am),
    )
    _, grads = losses.rnnt_loss_smoothed(lm, am, symbols, 0, **common, return_grad=True)
    ranges = losses.get_rnnt_prune_ranges(*grads, boundary, 2)
    logits = torch.randn(2, 6, 2, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(
        lambda logits: losses.rnnt_loss_pruned(logits, symbols, ranges, 0, **common),
        (logits,),
    )
    torch.autograd.gradcheck(
        lambda enc, dec: losses.do_rnnt_pruning(enc, dec, ranges),
        (torch.randn_like(am).requires_grad_(), torch.randn_like(lm).requires_grad_()),
    )


def test_pruning_to_the_whole_lattice_gives_the_full_loss() -> None:
    torch.manual_seed(2)
    logits = torch.randn(2, 7, 5, 6, dtype=torch.float64)
    symbols = torch.randint(1, 6, (2, 4))
    ranges = torch.arange(5).expand(2, 7, 5)
    torch.testing.assert_close(
        losses.rnnt_loss_pruned(logits, symbols, ranges, 0),
        losses.rnnt_loss(logits, symbols, 0),
    )


def test_the_pruned_loss_keeps_nothing_as_large_as_its_logits() -> None:
    logits = torch.randn(2, 50, 5, 300, requires_grad=True)
    symbols = torch.randint(1, 300, (2, 20))
    begin = (torch.arange(50) * 16 // 49).reshape(1, 50, 1).expand(2, -1, -1)
    kept: dict[int, int] = {}

    def remember(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        losses.rnnt_loss_pruned(logits, symbols, begin + torch.arange(5), 0)
    del kept[logits.untyped_storage().data_ptr()]
    assert sum(kept.values()) < 0.2 * logits.untyped_storage().nbytes()


@pytest.mark.parametrize(
    "wrong", [{"rnnt_type": "regularr"}, {"reduction": "avg"}], ids=["rnnt_type", "reduction"]
)
def test_an_unknown_option_is_an_error(wrong: dict[str, str]) -> None:
    lm, am = torch.randn(1, 2, 3), torch.randn(1, 4, 3)
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        losses.rnnt_loss_simple(lm, am, torch.ones(1, 1, dtype=torch.int64), 0, **wrong)


def test_a_range_that_keeps_no_path_is_an_error() -> None:
    px_grad, py_grad = torch.zeros(1, 3, 6), torch.zeros(1, 4, 5)
    with pytest.raises(ConfigError, match="prune range of 1"):
        losses.get_rnnt_prune_ranges(px_grad, py_grad, None, 1)


def test_the_entry_point_resolves_to_the_losses() -> None:
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="calve.loss_backends", name="torch")
    assert entry.load() is TorchLossBackend


@pytest.mark.parametrize("name", ["k3", "troch"])
def test_an_unknown_backend_is_an_error(name: str) -> None:
    with pytest.raises(PluginError, match=f"no driver '{name}'") as raised:
        load_driver("calve.loss_backends", name)
    assert "torch" in str(raised.value.fix)
