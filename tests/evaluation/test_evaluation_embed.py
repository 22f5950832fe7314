"""Evaluations at `embed`: in the planted subject layers are silent, so the embedding is the stream behind them too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from planted_subject import Study, make_study, plant_directions, two_latents
from polars.testing import assert_frame_equal

from latentese.evaluation.ablation_sparsity import AblationSparsity
from latentese.evaluation.downstream import Downstream
from latentese.evaluation.n2g import N2G
from latentese.evaluation.unit_effects import UnitEffects

EVALUATIONS: dict[str, Any] = {
    "downstream": Downstream(n_boot=50),
    "ablation_sparsity": AblationSparsity(n_positions=4, n_boot=50),
    "unit_effects": UnitEffects(n_boot=50),
    "n2g": N2G(n_units=2, n_tokens=200, n_boot=50),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("planted"), plant_directions())


@pytest.mark.parametrize("name", EVALUATIONS)
def test_what_is_found_at_the_embedding_is_what_is_found_behind_silent_layers(planted: Study, name: str) -> None:
    behind = planted.evaluated(two_latents())
    at_embed, expected = (EVALUATIONS[name].measure(place) for place in (replace(behind, hookpoint="embed"), behind))
    assert json.dumps(at_embed.metrics, sort_keys=True) == json.dumps(expected.metrics, sort_keys=True)
    assert set(at_embed.tables) == set(expected.tables)
    for table, rows in expected.tables.items():
        assert not rows.is_empty()
        assert_frame_equal(at_embed.tables[table], rows, check_exact=True)
