"""How the gate searches; the error rates are made up, the bundles are real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from calve.api import DataError, ExportError
from calve.bundles.bundle import Bundle
from calve.common.progress import NO_PROGRESS
from calve.data.recordings import Recording, find_with_references
from calve.protocols import VariantReport
from calve_ncnn.int8.gate import TOKEN_MEASURE, Judge, find_passing
from calve_ncnn.int8.layers import is_int8
from calve_ncnn.int8.plan import NetworkPlan, make_plans
from calve_ncnn.int8.quantize import NetworkFiles
from calve_ncnn.int8.variants import all_fp16, weights_size
from calve_ncnn.layout import NETWORKS


def report(name: str, error_rate: float, size: int = 0, **more: tuple[str, ...]) -> VariantReport:
    arguments = {"empty": ()} | more
    return VariantReport(name, size, error_rate, 0, 100, rtf=0.1, **arguments)


class MadeUpJudge(Judge):
    """Each layer that is int8 in a variant costs 1 percent; two of them make it deaf to a.wav."""

    def variant(self, name: str, folder: Path, kept: Sequence[str] = ()) -> VariantReport:
        layers = [
            layer
            for network in NETWORKS
            for layer in NetworkFiles.open(folder, network).layers.values()
        ]
        count = sum(map(is_int8, layers))
        deaf = {"embed_1", "linear_1"} & {layer.name for layer in layers if is_int8(layer)}
        return report(
            name,
            10.0 + count,
            weights_size(folder),
            kept=tuple(kept),
            empty=("a.wav",) if self.deafens and deaf else (),
        )

    deafens = False


@pytest.fixture(scope="module")
def plans(networks: list[NetworkFiles]) -> list[NetworkPlan]:
    plans = make_plans(networks, ("LSTM", "Gemm", "InnerProduct", "Embed"), (), {})
    return [plan.with_inputs(dict.fromkeys(plan.watched, 10.0)) for plan in plans]


@pytest.fixture
def judge(golden_bundle: Bundle) -> MadeUpJudge:
    baseline = report("fp32", 10.0)
    return MadeUpJudge(golden_bundle, (), {}, "WER", baseline, {}, 1, NO_PROGRESS)


def ranking_of(plans: list[NetworkPlan]) -> list[tuple[str, str]]:
    return [(plan.network.name, layer) for plan in reversed(plans) for layer in plan.int8]


@pytest.mark.parametrize("allowed", [0, 1, 5, 9, 13])
def test_as_few_layers_as_possible_are_held_back_the_most_sensitive_first(
    judge: MadeUpJudge, plans: list[NetworkPlan], tmp_path: Path, allowed: int
) -> None:
    ranking = ranking_of(plans)
    assert len(ranking) == 14
    found, passing, frontier = find_passing(judge, plans, ranking, allowed, tmp_path)
    assert sum(len(plan.int8) for plan in found) == allowed
    assert passing.error_rate == 10 + allowed
    assert passing.kept == tuple("/".join(pair) for pair in ranking[: 14 - allowed])
    held_back = {(plan.network.name, name) for plan in found for name in plan.reasons}
    assert set(ranking[: 14 - allowed]) <= held_back
    assert passing in frontier
    assert [one.size for one in frontier] == sorted(one.size for one in frontier)
    assert not list(tmp_path.iterdir())


def test_nothing_is_held_back_where_all_of_int8_passes(
    judge: MadeUpJudge, plans: list[NetworkPlan], tmp_path: Path
) -> None:
    found, passing, frontier = find_passing(judge, plans, ranking_of(plans), 14, tmp_path)
    assert [plan.int8 for plan in found] == [plan.int8 for plan in plans]
    assert passing.name == "int8"
    assert len(frontier) == 1


def test_an_empty_answer_fails_the_gate_however_good_the_average(
    judge: MadeUpJudge, plans: list[NetworkPlan], tmp_path: Path
) -> None:
    judge.__class__.deafens = True
    try:
        found, passing, _ = find_passing(judge, plans, ranking_of(plans), 100, tmp_path)
    finally:
        judge.__class__.deafens = False
    assert passing.empty == ()
    int8 = {name for plan in found for name in plan.int8}
    assert not int8 & {"embed_1", "linear_1"}
    assert int8


def test_a_gate_that_even_fp16_does_not_pass_is_an_error(
    golden_bundle: Bundle, plans: list[NetworkPlan], tmp_path: Path
) -> None:
    baseline = report("fp32", 9.0)
    judge = MadeUpJudge(golden_bundle, (), {}, "WER", baseline, {}, 1, NO_PROGRESS)
    with pytest.raises(ExportError, match=r"every layer in fp16 the WER grows by 1\.00"):
        find_passing(judge, plans, ranking_of(plans), 0.5, tmp_path)


def test_transcripts_make_it_a_word_error_rate(golden_bundle: Bundle, demo: Path) -> None:
    recordings = find_with_references([demo], None)[:2]
    judge = Judge.of(golden_bundle, "fp32", recordings, 1, NO_PROGRESS)
    assert judge.measure == "WER"
    words = sum(len((one.reference or "").split()) for one in recordings)
    assert judge.baseline.reference_words == words
    assert judge.baseline.rtf > 0


def test_without_transcripts_the_sources_tokens_are_the_reference(
    golden_bundle: Bundle, demo: Path
) -> None:
    path = sorted(demo.glob("*.wav"))[0]
    judge = Judge.of(golden_bundle, "fp32", [Recording(path)], 1, NO_PROGRESS)
    assert judge.measure == TOKEN_MEASURE
    assert judge.baseline.error_rate == 0
    assert judge.baseline.reference_words > 0
    assert judge.variant("again", golden_bundle.path).errors == 0


def test_recordings_of_nothing_cannot_be_judged(golden_bundle: Bundle, tmp_path: Path) -> None:
    missing = Recording(tmp_path / "missing.wav", "one")
    with pytest.raises(DataError, match=r"can be evaluated: .*does not exist"):
        Judge.of(golden_bundle, "fp32", [missing], 1, NO_PROGRESS)


def test_all_fp16_quantizes_nothing(plans: list[NetworkPlan]) -> None:
    assert not any(plan.int8 for plan in all_fp16(plans))
