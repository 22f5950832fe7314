"""A planted study from planting to its page, through the real stages: what it finds is what was put there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from toy_units import WordListSimulator, make_explanation
from written_corpus import Written, write_corpus

from flows.config import Params, composed_params
from flows.planted import Planted, main
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.records import SPLITS, Example, Explanation, Unit
from latentese.report.planted import PlantedFindings, write_page
from latentese.schemas import SIMULATIONS
from latentese.stages.explain import EXPLANATIONS
from latentese.stages.plant import directions
from latentese.store.tables import read_explanations, read_table

WORDS = ("red", "cat", "hat")
MEANINGS = "".join(
    f"[[meaning]]\nname = '{word}'\nkind = 'lexical'\ntrue = '{word}'\nfires = [{{ on = '{word}', act = 9 }}]\n"
    for word in WORDS
)
OVERRIDES = [
    "planted=text", "planted.packaged=false", "planted.files=[mine.toml]", "lm=scripted",
    "~simulator@simulators.all_at_once", "scoring.limits=null", "scoring.n_boot=50", "planted.plant.d_model=24",
    "planted.plant.n_background=2", "planted.plant.noise=0.05", "planted.dictionary.n_latents=5",
    "planted.dictionary.k=2", "planted.training.n_tokens=512", "planted.training.batch_tokens=256",
    "planted.training.lr=1e-9",
    "examples.n_pool_contexts=4", "examples.threshold_tokens=64",
]  # fmt: skip


class Silent:
    """Has no answer."""

    name = "silent"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        return make_explanation(None, unit.unit, self.name, error="no <b>answer</b>")


class FirstWord:
    """Says which of the words fires in the first example, but calls a hat a cat."""

    name = "first_word"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        peak = max(zip(examples[0].acts, examples[0].context.tokens, strict=True))[1].strip()
        return make_explanation("cat" if peak == "hat" else peak, unit.unit, self.name)


@torch.no_grad()
def start_at_the_truth_(planted: Planted) -> None:
    """Two steps of next to no length follow: whether training finds directions is another test's business."""
    truth = directions(len(WORDS), planted.planting)
    planted.dictionary.W_dec.copy_(truth)
    planted.dictionary.W_enc.copy_(truth.t())


@pytest.fixture
def params(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").symlink_to(root / "conf")
    (tmp_path / "mine.toml").write_text(MEANINGS, encoding="utf-8")
    documents = [
        Written(
            split, "prose", [[f"{split}{i}", *(f" {w}" for w in (WORDS[i % 3], "a", "b", WORDS[(i + 1) % 3], "c"))]]
        )
        for split in SPLITS
        for i in range(60 if split == "train" else 18)
    ]
    write_corpus(tmp_path / "artifacts" / "contexts", documents)
    return composed_params(OVERRIDES)


def test_what_was_planted_is_found_explained_and_named(params: Params, tmp_path: Path) -> None:
    planted = Planted(params)
    simulator = WordListSimulator()
    simulator.name = "embedding"  # in the place of the one that needs a model
    planted.simulators = {"embedding": simulator}
    planted.explainers = {"first_word": FirstWord(), "silent": Silent()}
    start_at_the_truth_(planted)
    recovered = planted.make()
    assert {name: one.found for name, one in recovered.items()} == dict.fromkeys(WORDS, True)
    written, found = planted.judge(recovered)
    assert {(one.case.name, one.explanation.explainer, one.explanation.text) for one in written} == {
        *((word, "planted", word) for word in WORDS),
        ("red", "first_word", "red"),
        ("cat", "first_word", "cat"),
        ("hat", "first_word", "cat"),
        *((word, "silent", None) for word in WORDS),
    }
    assert {one.unit: one.named for one in found} == {"red": True, "cat": True, "hat": False}
    findings = PlantedFindings(
        "c", ["l"], planted.meanings, recovered, written, found, planted.folder / "scores", Bootstrap(50)
    )
    write_page(findings, tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
    assert r"| first\_word | 2 of 3 [0.21, 0.94] | 2 of 3 |" in lines
    assert "| silent | 0 of 3 [0.00, 0.56] | 0 of 3 |" in lines
    assert sum("| **red** | (failed: no &lt;b&gt;answer&lt;/b&gt;) |" in line for line in lines) == 1
    scores = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))["scores"]
    value = {(row["meaning"], row["explainer"]): row["value"] for row in scores if row["control"] == "none"}
    # The stage's score, of the same answers as the judge's.
    assert {one.unit: one.value for one in found} == pytest.approx(
        {name: value[name, "first_word"] for name in WORDS}, abs=1e-6
    )
    assert value["red", "planted"] == value["red", "first_word"] > 0.9
    assert value["hat", "first_word"] < 0 < value["hat", "planted"]


@pytest.mark.parametrize("experiment", ["explainers", "scorers", "study"])
def test_of_an_experiment_what_needs_a_subject_and_limits_of_who_is_not_asked_are_left_out(
    params: Params, experiment: str
) -> None:
    words = ["planted=text", "planted.packaged=false", "planted.files=[mine.toml]", f"experiment={experiment}"]
    composed = composed_params(words)
    planted = Planted(composed)
    assert set(composed["explainers"]) - set(planted.explainers) <= {"n2g", "token_weights"}
    assert not any(hasattr(explainer, "with_reader") for explainer in planted.explainers.values())
    assert set(planted.scoring.limits) == set(composed["scoring"]["limits"]) & set(planted.simulators)


def test_limits_hold_and_who_is_not_tried_has_none(params: Params) -> None:
    words = [
        *OVERRIDES, "~simulator@simulators.embedding", "planted.named_by=token_table", "+explainer@explainers.n2g=n2g",
        "+scorer@scorers.detection=detection", "scoring.limits={token_table:{n_contexts:2},detection:{n_units:1}}",
        "+explaining.limits={token_activation:2,n2g:1}",
    ]  # fmt: skip
    planted = Planted(composed_params(words))
    start_at_the_truth_(planted)
    planted.judge(planted.make())
    explanations = read_explanations(planted.folder / "explanations" / EXPLANATIONS)
    units = {name: {one.unit for one in explanations if one.explainer == name} for name in ("token_activation", "n2g")}
    assert (len(units["token_activation"]), units["n2g"]) == (2, set())
    simulations = read_table(planted.folder / "scores" / "simulations.parquet", SIMULATIONS)
    assert simulations.group_by("explanation", "control", "split").len()["len"].max() == 2


def test_the_page_says_what_was_left_out(params: Params, tmp_path: Path) -> None:
    overrides = ["~simulator@simulators.embedding", "planted.named_by=token_table", "+explainer@explainers.n2g=n2g"]
    main(*OVERRIDES[1:], *overrides, "planted.page=page.md")
    assert "- not tried, for it needs units of a subject: n2g\n" in (tmp_path / "page.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("group", "limits", "said"),
    [
        (
            "explaining",
            {"nobody": 1},
            r"explaining\.limits\.nobody=1 is not allowed: configured are token_activation, ",
        ),
        ("explaining", {"token_table": 0}, r"explaining\.limits\.token_table=0 is not allowed: at least 1"),
        ("scoring", {"nobody": {}}, r"scoring\.limits\.nobody={} is not allowed: configured are "),
    ],
)
def test_a_limit_that_makes_no_sense_stops_before_anything_is_planted(
    params: Params, group: str, limits: object, said: str
) -> None:
    params[group]["limits"] = limits
    with pytest.raises(SettingError, match=said):
        Planted(params)


def test_an_ensemble_without_a_member_stops_before_anything_is_planted(params: Params) -> None:
    with pytest.raises(SettingError, match=r"simulators\.ensemble\.members='all_at_once' is not allowed: one of"):
        Planted(composed_params([*OVERRIDES, "+simulator@simulators.ensemble=ensemble"]))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("named_by", "nobody", r"planted\.named_by='nobody' is not allowed: one of"),
        ("files", [], r"planted\.files=\[\] is not allowed: at least two meanings"),
        ("plant", {"noise": -1}, r"planted\.plant\.noise=-1"),
        ("colour", "red", r"planted\.colour='red' is not allowed: unknown key"),
    ],
)
def test_a_mistake_stops_before_anything_is_planted(params: Params, key: str, value: object, said: str) -> None:
    params["planted"][key] = value
    with pytest.raises(SettingError, match=said):
        Planted(params)


def test_without_contexts_it_says_what_to_run(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "mine.toml").write_text(MEANINGS, encoding="utf-8")
    with pytest.raises(LatenteseError, match="run `dvc repro tokenize` first"):
        Planted(params)
