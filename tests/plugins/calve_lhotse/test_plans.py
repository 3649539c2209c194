from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve_lhotse.fsdd.plans import deal, generator_for, random_digits
from calve_lhotse.fsdd.recordings import WORDS, DigitRecording

RECORDINGS = [
    DigitRecording(speaker, digit, index, Path(f"{digit}_{speaker}_{index}.wav"))
    for speaker in ("ann", "bob")
    for digit in range(10)
    for index in range(3)
]


@given(rounds=st.integers(1, 4), seed=st.integers(0, 1000))
def test_every_recording_is_dealt_once_a_round(rounds: int, seed: int) -> None:
    hands = list(deal("train", RECORDINGS, rounds, seed))
    dealt = Counter(recording for hand in hands for recording in hand)
    assert dealt == dict.fromkeys(RECORDINGS, rounds)


def test_a_hand_is_one_to_seven_recordings_of_one_speaker() -> None:
    hands = list(deal("train", RECORDINGS, 20, seed=0))
    assert {len(hand) for hand in hands} == set(range(1, 8))
    assert all(len({recording.speaker for recording in hand}) == 1 for hand in hands)


def test_what_a_name_draws_depends_on_the_seed_and_the_name_alone() -> None:
    first = generator_for(0, "an utterance").random(4)
    np.testing.assert_array_equal(first, generator_for(0, "an utterance").random(4))
    assert not np.array_equal(first, generator_for(1, "an utterance").random(4))
    assert not np.array_equal(first, generator_for(0, "another").random(4))


@pytest.mark.parametrize("seed", range(5))
def test_random_digits_are_one_to_seven_words(seed: int) -> None:
    words = random_digits(np.random.default_rng(seed)).split()
    assert 1 <= len(words) <= 7
    assert set(words) <= set(WORDS)
