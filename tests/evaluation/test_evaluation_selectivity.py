from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from planted_subject import A, Study, make_study, plant_directions, two_latents

from latentese.dictionaries.neurons import Neurons
from latentese.errors import SettingError
from latentese.evaluation.selectivity import Chosen, Firing, FiringSample, firing_by_source, selective_units


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("planted"), plant_directions())


def firing_of(density: list[list[float]]) -> Firing:
    return Firing(("code", "prose", "verse")[: len(density)], np.array(density), np.ones(len(density[0])))


def test_densities_are_those_of_each_source(planted: Study) -> None:
    firing = firing_by_source(two_latents(), planted.activations, planted.contexts, FiringSample())
    assert firing.sources == ("code", "prose")
    # latent 0 is the direction of code tokens, latent 1 is on all of them
    assert firing.density.tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert firing.max_act.tolist() == [A, 1.0]


@pytest.mark.parametrize(
    ("wrong", "message"), [({"n_tokens": 0}, r"selection\.n_tokens=0"), ({"split": "x"}, "split='x'")]
)
def test_a_sample_of_nothing_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        FiringSample(**wrong)


def test_sources_are_told_apart_in_a_sample(planted: Study) -> None:
    sample = FiringSample(n_tokens=37, seed=5)
    firing = firing_by_source(two_latents(), planted.activations, planted.contexts, sample)
    assert firing.density.tolist() == [[1.0, 1.0], [0.0, 1.0]]


def test_neurons_fire_above_a_quantile(planted: Study) -> None:
    firing = firing_by_source(Neurons(16), planted.activations, planted.contexts, FiringSample())
    # Coordinate 3 is A on code tokens and 0 on prose: its 99th percentile is A, which nothing exceeds.
    assert firing.density[:, 3].tolist() == [0.0, 0.0]
    assert firing.max_act.tolist() == [0.0] * 16


def test_the_largest_margin_over_every_other_source_is_chosen() -> None:
    # unit 0: .5 in code, .4 in prose (margin .1); unit 1: .3 and 0 (margin .3); unit 2: prose only
    firing = firing_of([[0.5, 0.3, 0.0], [0.4, 0.0, 0.2], [0.0, 0.1, 0.0]])
    assert selective_units(firing, 1) == [Chosen(1, "code"), Chosen(2, "prose")]
    assert selective_units(firing, 2) == [Chosen(1, "code"), Chosen(0, "code"), Chosen(2, "prose")]


def test_a_unit_that_fires_alike_everywhere_is_selective_for_nothing() -> None:
    assert selective_units(firing_of([[0.5, 0.0], [0.5, 0.0]]), 2) == []


def test_of_one_source_the_most_frequent_are_chosen() -> None:
    assert selective_units(firing_of([[0.1, 0.7, 0.0]]), 2) == [Chosen(1, "code"), Chosen(0, "code")]


def test_the_sample_is_seeded(planted: Study) -> None:
    topk = two_latents()
    with torch.no_grad():
        topk.W_enc[:, 1] = torch.randn(16, generator=torch.Generator().manual_seed(0))
        topk.b_enc[1] = -0.5
    samples = [FiringSample(n_tokens=40, seed=seed) for seed in (0, 0, 1)]
    found = [firing_by_source(topk, planted.activations, planted.contexts, sample) for sample in samples]
    assert np.array_equal(found[0].density, found[1].density)
