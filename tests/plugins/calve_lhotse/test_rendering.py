from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calve_lhotse.augmentation import SAMPLE_RATE
from calve_lhotse.fsdd.plans import UtterancePlan
from calve_lhotse.fsdd.rendering import _load, join, render, room_tone


@pytest.fixture
def plan(few_digits: Path) -> UtterancePlan:
    return UtterancePlan(
        id="an-utterance",
        speaker="lucas",
        text="four two",
        pieces=(few_digits / "4_lucas_0.wav", few_digits / "2_lucas_6.wav"),
        babble=(),
        perturbed=False,
        synthetic=False,
        target=Path("test/an-utterance.flac"),
    )


def burst(level: float, noise: float = 1e-3) -> np.ndarray:
    """A loud part between two quiet ones."""
    generator = np.random.default_rng(0)
    samples = noise * generator.standard_normal(6400)
    samples[1600:4800] += level * np.sin(np.arange(3200) * 0.3)
    return samples.astype(np.float32)


def test_joined_pieces_keep_their_order_and_shape() -> None:
    pieces = [burst(0.2), burst(0.8)]
    joined = join(pieces, np.random.default_rng(1))
    loud = [piece[1600:4800] for piece in pieces]
    second = int(np.argmax(np.correlate(joined, loud[1], "valid")))
    first = int(np.argmax(np.correlate(joined[:second], loud[0], "valid")))
    for start, expected in ((first, loud[0]), (second, loud[1])):
        np.testing.assert_allclose(joined[start : start + 3200], expected, atol=0.01)


def test_pauses_are_within_their_bounds() -> None:
    pieces = [np.ones(1600, np.float32)] * 7
    lengths = [len(join(pieces, np.random.default_rng(seed))) for seed in range(200)]
    shortest, longest = min(lengths) / SAMPLE_RATE - 0.7, max(lengths) / SAMPLE_RATE - 0.7
    assert 2 * 0.1 + 6 * 0.05 < shortest < longest < 2 * 0.6 + 6 * 0.4


def test_room_tone_sounds_as_loud_as_the_quiet_parts() -> None:
    tone = room_tone([burst(0.5, noise=1e-3)], 16000, np.random.default_rng(0))
    assert tone.std() == pytest.approx(1e-3, rel=0.2)


def test_unperturbed_utterances_keep_level_and_speed(plan: UtterancePlan) -> None:
    samples = render(plan, seed=0)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1.0
    np.testing.assert_array_equal(samples, render(plan, seed=0))


@pytest.mark.parametrize("synthetic", [False, True])
def test_perturbed_utterances_never_clip_and_differ_by_seed(
    plan: UtterancePlan, synthetic: bool
) -> None:
    perturbed = replace(plan, perturbed=True, synthetic=synthetic)
    rendered = [render(perturbed, seed) for seed in range(20)]
    for samples in rendered:
        assert np.isfinite(samples).all()
        assert 10 ** (-32.1 / 20) < np.abs(samples).max() < 10 ** (-0.9 / 20)
    assert len({len(samples) for samples in rendered}) > 15
    np.testing.assert_array_equal(rendered[3], render(perturbed, 3))


def test_babble_is_heard_in_the_pauses(plan: UtterancePlan, few_digits: Path) -> None:
    background = tuple(few_digits / f"{digit}_george_6.wav" for digit in range(8))
    quiet = render(replace(plan, perturbed=True, babble=()), seed=5)
    noisy = render(replace(plan, perturbed=True, babble=background), seed=5)
    assert len(quiet) > 0
    assert not np.array_equal(quiet[: len(noisy)], noisy[: len(quiet)])


def test_a_recording_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "7_theo_0.wav"
    for value, count in ((0.1, 100), (0.2, 101)):
        samples = np.resize([value, -value], count)  # a constant would be taken for an offset
        soundfile.write(path, samples, SAMPLE_RATE, subtype="FLOAT")
        assert _load(path) == pytest.approx(samples)
