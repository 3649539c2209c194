"""Run by k2's Python: the losses of `calve_k2` against the golden numbers.

Usage: loss_goldens_child.py PATH/TO/calve_k2/losses.py PATH/TO/rnnt_loss.pt
Prints one line for each case that agrees; ends with an assertion at the first that does not.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import torch


def near(actual, expected, relative):
    finite = expected.isfinite()
    assert torch.equal(actual[~finite], expected[~finite])
    largest = expected[finite].abs().max() if finite.any() else 0.0
    assert ((actual[finite] - expected[finite]).abs() <= relative * largest).all()


def gradient(loss, *inputs):
    return torch.autograd.grad(loss[loss.isfinite()].sum(), inputs)


def check(losses, case):
    common = {key: case[key] for key in ("boundary", "rnnt_type", "delay_penalty")}
    lm, am = (case[key].clone().requires_grad_() for key in ("lm", "am"))
    loss, (px_grad, py_grad) = losses.rnnt_loss_smoothed(
        lm=lm,
        am=am,
        symbols=case["symbols"],
        termination_symbol=case["termination_symbol"],
        lm_only_scale=case["lm_only_scale"],
        am_only_scale=case["am_only_scale"],
        reduction="none",
        return_grad=True,
        **common,
    )
    near(loss, case["smoothed"]["loss"]["none"], 1e-5)
    lm_grad, am_grad = gradient(loss, lm, am)
    near(lm_grad, case["smoothed"]["lm_grad"], 1e-4)
    near(am_grad, case["smoothed"]["am_grad"], 1e-4)
    size = [0, 0, case["symbols"].shape[1], case["am"].shape[1]]
    whole = torch.tensor([size] * len(case["symbols"]))
    boundary = whole if case["boundary"] is None else case["boundary"]
    for pruned in case["pruned"]:
        if "error" in pruned:
            continue
        ranges = losses.get_rnnt_prune_ranges(px_grad, py_grad, boundary, pruned["s_range"])
        assert torch.equal(ranges, pruned["ranges"])
        logits = pruned["logits"].clone().requires_grad_()
        loss = losses.rnnt_loss_pruned(
            logits=logits,
            symbols=case["symbols"],
            ranges=ranges,
            termination_symbol=case["termination_symbol"],
            reduction="none",
            **common,
        )
        near(loss, pruned["loss"]["none"], 1e-5)
        near(gradient(loss, logits)[0], pruned["logits_grad"], 1e-4)


def main(module_path, goldens_path):
    spec = spec_from_file_location("losses", module_path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for case in torch.load(goldens_path)["cases"]:
        check(module.K2LossBackend, case)
        print(case["name"])


if __name__ == "__main__":
    main(*sys.argv[1:])
