"""The recording of which a bundle's golden data is made."""

from __future__ import annotations

import numpy as np
import pytest

from calve.bundles.golden import pcm_samples
from calve.common.references import LazyRef, Resource
from calve.data.features import FeatureConfig, compute_fbank
from calve.exporting.golden import golden_pcm
from calve.registry.catalog import registry
from calve.registry.specs import RecipeSpec

MUTE = RecipeSpec("mute", "lstm", LazyRef("a:b"), Resource("calve", "none.toml"), "no demo")


def test_a_recipe_without_recordings_gets_sound_that_drives_the_features():
    pcm = golden_pcm(MUTE, 16000)
    assert len(pcm) == 48000
    assert np.array_equal(pcm, golden_pcm(MUTE, 16000)), "it is the same every time"
    features = compute_fbank(pcm_samples(pcm), FeatureConfig())
    assert features.std() > 2


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_audio_lasts_whole_tenths_of_a_second_and_three_at_most(sample_rate: int):
    for recipe in (*registry().recipes, MUTE):
        pcm = golden_pcm(recipe, sample_rate)
        assert len(pcm) % (sample_rate // 10) == 0
        assert sample_rate <= len(pcm) <= 3 * sample_rate
