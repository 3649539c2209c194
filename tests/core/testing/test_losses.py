"""Each check of the loss kit fails on a backend that is broken in just that way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from calve.testing import LossBackendConformance
from calve_transducer.losses.backend import TorchLossBackend

Failures = Callable[..., dict[str, str]]


class Broken:
    """The torch backend with one function replaced by one that is given the original first."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        original = getattr(TorchLossBackend, name)
        for other in vars(TorchLossBackend):
            if not other.startswith("_"):
                setattr(self, other, getattr(TorchLossBackend, other))
        setattr(self, name, lambda *given, **options: function(original, *given, **options))


def scaled(original, **options):
    loss = original(**options)
    return loss if options.get("return_grad") else 1.01 * loss


def detached(original, **options):
    loss = original(**options)
    if options.get("return_grad"):
        return loss
    reached = options["am"] if "am" in options else options["logits"]
    return loss.detach() + 0 * reached.sum() + 0 * options.get("lm", reached).sum()


def ignores_the_boundary(original, **options):
    return original(**{**options, "boundary": None})


def finite_at_any_price(original, **options):
    return original(**options).nan_to_num(posinf=0.0)


def leaks_gradient(original, **options):
    loss = original(**options)
    logits = options["logits"]
    return loss if loss.isfinite().all() else loss + (logits - logits.detach()).sum()


def all_positions(original, **options):
    """Takes every range for the first one."""
    ranges = options["ranges"]
    return original(**{**options, "ranges": ranges[:, :1].expand_as(ranges).contiguous()})


def doubled_occupation(original, **options):
    found = original(**options)
    if not options.get("return_grad"):
        return found
    loss, (px_grad, py_grad) = found
    return loss, (px_grad, 2 * py_grad)


def jumping(original, *given):
    ranges = original(*given)
    return ranges.flip(1)


def one_too_wide(original, px_grad, py_grad, boundary, s_range):
    return original(px_grad, py_grad, boundary, s_range + 1)


def never_at_the_end(original, *given):
    ranges = original(*given)
    return ranges - ranges[:, :, :1]


def shifted(original, am, lm, ranges):
    return original(am=am, lm=lm.roll(1, 1), ranges=ranges)


def always_sums(original, **options):
    reduction = options.get("reduction")
    return original(**{**options, "reduction": "sum" if reduction == "mean" else reduction})


def without_penalty(original, **options):
    return original(**{**options, "delay_penalty": 0.0})


SIMPLE = "the_simple_loss_is_that_of_all_alignments"
FULL = "the_pruned_loss_of_all_positions_is_that_of_all_alignments"
PRUNED = "the_pruned_loss_counts_alignments_within_the_ranges_alone"
INFINITE = "what_cannot_be_aligned_costs_infinity_and_moves_nothing"
PADDING = "padding_does_not_matter"
OCCUPATION = "occupation_adds_up"
RANGES = "ranges_are_connected_and_reach_the_end"
TAKING = "pruning_takes_what_the_ranges_name"
REDUCTIONS = "reductions"
DELAY = "a_delay_penalty_favours_early_symbols"

# function that is replaced, by what, what a check says, the checks that fail, no other
BROKEN_BACKENDS = [
    ("rnnt_loss_smoothed", scaled, "by definition", {SIMPLE, DELAY}),
    ("rnnt_loss_smoothed", detached, "the gradient is", {SIMPLE}),
    (
        "rnnt_loss_smoothed",
        ignores_the_boundary,
        "the frames that pad an utterance have a gradient",
        {SIMPLE, PADDING, OCCUPATION, DELAY},
    ),
    ("rnnt_loss_smoothed", doubled_occupation, "add up to [2.0", {OCCUPATION}),
    ("rnnt_loss_smoothed", always_sums, "the mean of the losses", {REDUCTIONS}),
    ("rnnt_loss_smoothed", without_penalty, "with a delay penalty", {DELAY}),
    ("rnnt_loss_pruned", scaled, "the pruned loss is", {FULL, PRUNED}),
    ("rnnt_loss_pruned", detached, "the gradient is", {FULL, PRUNED}),
    ("rnnt_loss_pruned", finite_at_any_price, "not infinity", {INFINITE}),
    ("rnnt_loss_pruned", leaks_gradient, "would be spoilt", {INFINITE}),
    ("rnnt_loss_pruned", all_positions, "narrow ranges", {PRUNED}),
    ("get_rnnt_prune_ranges", jumping, "positions move by", {RANGES}),
    ("get_rnnt_prune_ranges", one_too_wide, "have the shape", {RANGES}),
    ("get_rnnt_prune_ranges", never_at_the_end, "the last range", {RANGES}),
    ("do_rnnt_pruning", shifted, "takes other numbers", {TAKING}),
]


@pytest.mark.parametrize(("name", "function", "says", "expected"), BROKEN_BACKENDS)
def test_a_broken_backend_fails_the_checks_of_what_is_broken(
    failures: Failures, name: str, function: Callable[..., Any], says: str, expected: set[str]
) -> None:
    class Conformance(LossBackendConformance):
        def load(self) -> Any:
            return Broken(name, function)

    with torch.random.fork_rng():
        found = failures(Conformance)
    assert set(found) == expected
    assert any(says in message for message in found.values()), found


def test_a_backend_that_is_not_installed_is_found(failures: Failures) -> None:
    class Conformance(LossBackendConformance):
        backend = "no_such_backend"

    assert "there is no driver 'no_such_backend'" in failures(Conformance)[REDUCTIONS]
