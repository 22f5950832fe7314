"""A sweep is multiplied out: cells, their settings, their passes; what cannot be meant stops before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.config import compose, parse_yaml
from flows.plan import Plan, matches, plan_sweep
from latentese.errors import LatenteseError

TOPK = {"_target_": "latentese.dictionaries.topk.TopK", "n_latents": 2048, "k": 32, "aux_coef": 0.03125, "seed": 0}
RELU = {"_target_": "latentese.dictionaries.relu.ReLU", "n_latents": 2048, "target_l0": None, "seed": 0}
TRAINING = {"n_tokens": 2_000_000, "batch_tokens": 2048, "lr": None, "seed": 0}


def plan_of(**sweep: Any) -> Plan:
    given = {
        "name": "toy",
        "target": "latents",
        "dictionaries": {"topk": TOPK, "relu": RELU},
        "training": TRAINING,
        "evaluations": {},
        "grids": [{"n_latents": [8, 16], "k": [1, 2]}],
    }
    return plan_sweep({"targets": {"latents": {}}, "sweep": given | sweep})


def names(plan: Plan) -> list[str]:
    return [cell.name for cell in plan.cells]


def test_a_grid_is_the_product_of_its_lists() -> None:
    plan = plan_of(grids=[{"n_latents": [8, 16], "k": [1, 2], "seed": 3}])
    assert names(plan) == [
        "topk,n_latents=8,k=1,seed=3",
        "topk,n_latents=8,k=2,seed=3",
        "topk,n_latents=16,k=1,seed=3",
        "topk,n_latents=16,k=2,seed=3",
    ]
    assert plan.cells[1].point == {"source": "here", "dictionary": "topk", "n_latents": 8, "k": 2, "seed": 3}


def test_grids_are_united_and_a_cell_is_there_once() -> None:
    plan = plan_of(grids=[{"n_latents": [8, 16], "k": 1}, {"n_latents": [16, 32], "k": [1]}])
    assert names(plan) == ["topk,n_latents=8,k=1", "topk,n_latents=16,k=1", "topk,n_latents=32,k=1"]


def test_an_axis_sets_every_setting_of_its_name_and_no_other() -> None:
    (cell,) = plan_of(grids=[{"n_latents": 8, "k": 2, "n_tokens": 4096, "seed": 5, "lr": 0.1}]).cells
    assert cell.dictionary == {**TOPK, "n_latents": 8, "k": 2, "seed": 5}
    assert cell.training == {**TRAINING, "n_tokens": 4096, "seed": 5, "lr": 0.1}


def test_k_is_the_target_of_a_dictionary_that_is_steered_to_one() -> None:
    topk, relu = plan_of(grids=[{"dictionary": ["topk", "relu"], "k": 4}]).cells
    assert (topk.dictionary["k"], relu.dictionary["target_l0"]) == (4, 4)
    assert "k" not in relu.dictionary
    assert relu.name == "relu,k=4"


def test_cells_with_the_same_tokens_in_the_same_order_train_in_one_pass() -> None:
    plan = plan_of(grids=[{"n_latents": [8, 16], "seed": [0, 1]}, {"n_latents": [8, 16], "n_tokens": 4096}])
    passes = {one.name: [cell.name for cell in one.cells] for one in plan.passes}
    assert passes == {
        "seed=0": ["topk,n_latents=8,seed=0", "topk,n_latents=16,seed=0"],
        "seed=1": ["topk,n_latents=8,seed=1", "topk,n_latents=16,seed=1"],
        "n_tokens=4096": ["topk,n_latents=8,n_tokens=4096", "topk,n_latents=16,n_tokens=4096"],
    }


def test_a_pass_holds_no_more_dictionaries_than_allowed() -> None:
    plan = plan_of(grids=[{"n_latents": [1, 2, 3, 4, 5]}], per_pass=2)
    assert [(one.name, len(one.cells)) for one in plan.passes] == [("part=1", 2), ("part=2", 2), ("part=3", 1)]


def test_every_cell_is_in_exactly_one_pass() -> None:
    plan = plan_of(grids=[{"n_latents": [8, 16], "k": [1, 2], "seed": [0, 1]}], per_pass=3)
    assert sorted(cell.name for one in plan.passes for cell in one.cells) == sorted(names(plan))
    assert len({one.name for one in plan.passes}) == len(plan.passes)


def test_held_out_cells_match_a_pattern() -> None:
    plan = plan_of(held_out=[{"n_latents": 16, "k": 2}, {"n_latents": 8, "k": [1]}])
    assert {cell.name for cell in plan.cells if cell.held_out} == {"topk,n_latents=16,k=2", "topk,n_latents=8,k=1"}


def test_patterns_allow_any_value_of_a_list() -> None:
    point = {"n_latents": 8, "k": 2}
    assert matches(point, {"k": [1, 2]})
    assert matches(point, {})
    assert not matches(point, {"k": [1, 2], "n_latents": 16})
    assert not matches(point, {"seed": 0})


def test_several_sources_name_cells_and_passes_apart() -> None:
    sources = {"here": {}, "deeper": {"overrides": ["targets.latents.hookpoint=layers.20.resid_post"]}}
    plan = plan_of(sources=sources, grids=[{"source": ["here", "deeper"], "n_latents": 8, "seed": 0}])
    assert names(plan) == ["here,topk,n_latents=8,seed=0", "deeper,topk,n_latents=8,seed=0"]
    assert [one.name for one in plan.passes] == ["here,seed=0", "deeper,seed=0"]
    assert plan.sources["deeper"].overrides == ("targets.latents.hookpoint=layers.20.resid_post",)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"grids": [{"n_latent": [8]}]}, r"sweep\.grids\.n_latent=8 is not allowed: an axis of topk: aux_coef, batch_"),
        ({"grids": [{"dictionary": ["topq"]}]}, r"sweep\.grids\[0\]\.dictionary='topq' .* one of topk, relu"),
        ({"grids": [{"source": "there"}]}, r"sweep\.grids\[0\]\.source='there' is not allowed: one of here"),
        ({"grids": [{"dictionary": "relu", "aux_coef": 0}]}, r"aux_coef=0 is not allowed: an axis of relu"),
        ({"grids": [{"n_latents": []}]}, r"at least one grid with a value on every axis"),
        ({"grids": []}, r"at least one grid"),
        ({"held_out": [{"k": 7}]}, r"sweep\.held_out\[0\]=\{'k': 7\} is not allowed: a pattern"),
        ({"target": "neurons"}, r"sweep\.target='neurons' is not allowed: one of latents"),
        ({"name": "../x"}, r"sweep\.name='\.\./x' is not allowed"),
        ({"per_pass": 0}, r"sweep\.per_pass=0 is not allowed"),
        ({"sources": {"a": {"contexts": "x"}}}, r"sweep\.sources\.a=.* contexts and activations, or neither"),
        ({"gird": 1}, r"sweep\.gird=1 is not allowed: unknown key"),
        ({"fits": {"f": {"ovr": ["k"]}}}, r"sweep\.fits\.f\.ovr=.* unknown key; known are over, where"),
        ({"fits": {"f": {"over": ["n_tokens"]}}}, r"sweep\.fits\.f\.over='n_tokens' is not allowed: compute, or"),
        ({"fits": {"f": {"over": ["n_latents", "k"]}}}, r"sweep\.fits\.f: .* 6 parameters .* to 4 distinct points"),
        ({"fits": {"f": {"over": ["k"], "where": {"k": 2}}}}, r"sweep\.fits\.f: .* 2 parameters .* 1 distinct points"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(sweep: dict[str, Any], said: str) -> None:
    with pytest.raises(LatenteseError, match=said) as raised:
        plan_of(**sweep)
    assert "\n" not in str(raised.value)


def test_held_out_cells_do_not_count_towards_a_law() -> None:
    fits = {"f": {"over": ["n_latents"]}}
    grids = [{"n_latents": [8, 16]}]
    plan_of(grids=grids, fits=fits)
    with pytest.raises(LatenteseError, match="cannot be fitted to 1 distinct points"):
        plan_of(grids=grids, fits=fits, held_out=[{"n_latents": 16}])


@pytest.mark.parametrize(
    "name", sorted(file.stem for file in (Path(__file__).parents[2] / "conf/sweep").glob("*.yaml"))
)
def test_every_sweep_of_conf_can_be_planned(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(root)
    plan = plan_sweep(parse_yaml(compose([f"sweep={name}"])))
    assert plan.settings.name == name
    assert plan.cells


def test_a_sweep_leaves_the_pipelines_parameters_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with_sweep, without = (parse_yaml(compose(words)) for words in (["sweep=toy"], []))
    assert {key: value for key, value in with_sweep.items() if key != "sweep"} == without


def test_one_dictionary_under_two_names_is_refused() -> None:
    twins = [{"n_latents": [16], "k": [2]}, {"k": 2, "n_latents": 16}]
    with pytest.raises(LatenteseError, match=r"^sweep\.grids='topk,k=2,n_latents=16' .* than topk,n_latents=16,k=2 "):
        plan_of(grids=twins)
    assert len(plan_of(grids=[twins[0], twins[0]]).cells) == 1
