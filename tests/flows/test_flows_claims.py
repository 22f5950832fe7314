"""Definitions of claims are checked before anything is trained for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.claims import Claims
from flows.config import compose, parse_yaml
from flows.plan import plan_sweep
from latentese.errors import LatenteseError

ROOT = Path(__file__).parents[2]


def claims_of(name: str, *overrides: str) -> Claims:
    params = parse_yaml(compose([f"claims={name}", *overrides]))
    return Claims(params, plan_sweep(params))


@pytest.fixture(autouse=True)
def _in_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "conf/claims").glob("*.yaml")))
def test_every_definition_names_arms_that_are_trained_and_measured(name: str) -> None:
    claims = claims_of(name)
    for cells in claims.arms.values():
        assert len({cell.point["seed"] for cell in cells}) == len(cells) >= 2
    used = {arm for claim in claims.claims.values() for arm in claim.weights}
    assert used == set(claims.arms), "every arm is trained for some claim"


def test_the_papers_dictionaries_differ_in_what_the_claims_are_about() -> None:
    specs = {arm: cells[0].dictionary for arm, cells in claims_of("paper").arms.items()}
    assert (specs["without_auxk"]["aux_coef"], specs["topk"]["aux_coef"]) == (0, 1 / 32)
    assert (specs["untied"]["tied_start"], specs["topk"]["tied_start"]) == (False, True)
    assert specs["untied_without_auxk"] == {**specs["untied"], "aux_coef": 0}
    assert specs["multi_topk"] == {**specs["topk"], "multi_coef": 0.125}
    assert specs["relu"]["target_l0"] == specs["gated"]["target_l0"] == specs["prolu"]["target_l0"] == 32
    assert {spec["n_latents"] for spec in specs.values()} == {512, 2048, 8192}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("claims.claims.auxk.measure=fuv", r"claims\.claims\.auxk\.measure='fuv' is not allowed: one of fvu"),
        ("+claims.claims.auxk.weights.nobody=1", r"claims\.claims\.auxk\.weights='nobody' .* one of wide"),
        ("claims.claims.auxk.expect=over", r"claims\.claims\.expect='over' is not allowed: one of above, below"),
        ("~claims.arms.wide.n_latents", r"claims\.arms\.wide=.* a pattern of one cell per seed, not of 4 cells"),
        ("claims.arms.wide.n_latents=9", r"claims\.arms\.wide=.* not of 0 cells"),
        ("+claims.arms.wide.seed=0", r"claims\.claims\.wider_is_better\.weights=.* the same seeds, at least 2"),
        ("+sweep.measured_on={reconstruction: {n_latents: 8}}", r"an arm on which reconstruction is measured"),
        ("claims.l0=l00", r"claims\.l0='l00' is not allowed: one of fvu, l0"),
        ("+claims.measures.fvu.path=x", r"claims\.measures\.fvu\.path='x' is not allowed: unknown key"),
        ("+claims.measures.fvu.documents.x=1", r"claims\.measures\.fvu\.documents\.x=1 is not allowed: unknown key"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_setting(override: str, said: str) -> None:
    with pytest.raises(LatenteseError, match=said) as raised:
        claims_of("toy", override)
    assert "\n" not in str(raised.value)


def test_names_of_cells_are_names_of_folders() -> None:
    names: list[Any] = [cell.name for cells in claims_of("paper").arms.values() for cell in cells]
    assert all(Path(name).name == name and len(name) < 200 for name in names)
    assert len(set(names)) == len(names)
