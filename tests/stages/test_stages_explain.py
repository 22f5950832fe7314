"""The explain stage on a small artifact with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from toy_artifacts import write_contexts

from latentese.corpus.contexts import Contexts
from latentese.errors import ArtifactError, SettingError
from latentese.explainers.human import HumanExplainer
from latentese.explainers.token_activation import TokenActivationExplainer
from latentese.explainers.token_table import TokenTableExplainer
from latentese.lm.cached import CachedChat
from latentese.lm.scripted import ScriptedChat
from latentese.records import Example, Explanation, Unit
from latentese.schemas import EXAMPLES, UNITS
from latentese.stages.explain import ExplainSettings, explain
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.tables import read_explanations, write_table

N_UNITS = 6


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_contexts(tmp_path_factory.mktemp("contexts") / "contexts")


def write_examples(out: Path, contexts: Path, split: str = "explain") -> Path:
    """Unit u fires with 10 + u at position 1 of contexts u and u + 6 of a split; unit 5 is dead."""
    numbers = Contexts(contexts).table.filter(pl.col("split") == split)["context"]
    examples = [
        {
            "unit": unit,
            "context": int(numbers[unit + offset]),
            "split": "explain",
            "kind": "top",
            "band": 0,
            "max_act": 10.0 + unit,
            "positions": [1],
            "acts": [10.0 + unit],
        }
        for unit in range(N_UNITS)
        for offset in (0, N_UNITS)
    ]
    units = [
        {
            "unit": unit,
            "n_fires": 2,
            "density": 0.1,
            "max_act": 10.0 + unit,
            "mean_act": 10.0 + unit,
            "threshold": 0.0,
            "n_documents": 2,
            "draw": (3, 1, 4, 0, 2, None)[unit],
            "histogram": [2],
        }
        for unit in range(N_UNITS)
    ]
    with open_draft(out, "examples", {"contexts": open_artifact(contexts, "contexts")}, {}) as draft:
        write_table(pl.DataFrame(units, UNITS), UNITS, draft.path / "units.parquet")
        write_table(pl.DataFrame(examples, EXAMPLES), EXAMPLES, draft.path / "examples.parquet")
        draft.publish({"n_units": N_UNITS})
    return out


def chat(folder: Path) -> ScriptedChat:
    """Knows words that hold a 1; has no answer to others."""
    (folder / "script.jsonl").write_text(json.dumps({"match": "<<w1", "answer": "words with a 1"}) + "\n")
    return ScriptedChat(folder / "script.jsonl")


def test_every_unit_of_the_draw_gets_a_row_from_every_explainer(contexts: Path, tmp_path: Path) -> None:
    explainers = {"token_activation": TokenActivationExplainer(chat(tmp_path)), "token_table": TokenTableExplainer()}
    examples = write_examples(tmp_path / "examples", contexts)
    out = explain(contexts, examples, explainers, ExplainSettings(n_units=3), tmp_path / "out")

    explanations = read_explanations(out / "explanations.jsonl")
    drawn = (1, 3, 4)  # draws 1, 0 and 2
    assert [e.explanation for e in explanations] == [f"{u}.{name}.0" for u in drawn for name in explainers]
    failed = [e for e in explanations if e.text is None]
    assert all("no answer" in str(e.error) for e in failed)

    counts = open_artifact(out, "explanations").manifest.counts
    assert counts["n_units"] == 3
    assert counts["explainers"]["token_table"]["n_failed"] == 0
    by_model = counts["explainers"]["token_activation"]
    assert (by_model["n_failed"], by_model["n_explained"]) == (len(failed), 3 - len(failed))


def test_a_rerun_gives_the_same_bytes_and_asks_nothing(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    runs = []
    for run in range(2):
        cached = CachedChat(chat(tmp_path), tmp_path / "answers.sqlite")
        explainers = {"token_activation": TokenActivationExplainer(cached)}
        out = explain(contexts, examples, explainers, ExplainSettings(n_units=5), tmp_path / f"out{run}")
        runs.append({file.name: file.read_bytes() for file in sorted(out.iterdir())})
    assert runs[0] == runs[1]
    assert cached.ledger.n_cached == sum(
        e.text is not None for e in read_explanations(tmp_path / "out1" / "explanations.jsonl")
    )


@dataclass(frozen=True)
class Slow:
    """Ends in the reverse order of its calls."""

    name: str = "slow"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        await asyncio.sleep(0.001 * (10 - unit.unit))
        shown = tuple(example.context.context for example in examples)
        return Explanation(f"{unit.unit}.slow.0", unit.unit, "slow", 0, "late", "none", "", shown)


def test_rows_are_in_the_order_of_units_whoever_ends_first(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    out = explain(contexts, examples, {"slow": Slow()}, ExplainSettings(n_units=5), tmp_path / "out")
    assert [e.unit for e in read_explanations(out / "explanations.jsonl")] == [0, 1, 2, 3, 4]


def test_only_explain_contexts_are_shown(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    out = explain(contexts, examples, {"slow": Slow()}, ExplainSettings(n_units=5), tmp_path / "out")
    shown = {context for e in read_explanations(out / "explanations.jsonl") for context in e.examples}
    assert {context.split for context in Contexts(contexts).get(sorted(shown))} == {"explain"}


def test_examples_that_name_a_test_context_stop_the_stage(contexts: Path, tmp_path: Path) -> None:
    leaking = write_examples(tmp_path / "examples", contexts, split="test")
    with pytest.raises(ArtifactError, match="of split test for explaining"):
        explain(contexts, leaking, {"slow": Slow()}, ExplainSettings(n_units=5), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_units_than_are_live(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    with pytest.raises(SettingError, match=r"n_units=6 is not allowed: 1\.\.5"):
        explain(contexts, examples, {"slow": Slow()}, ExplainSettings(n_units=6), tmp_path / "out")


def test_a_name_that_differs_from_the_groups(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    with pytest.raises(SettingError, match=r"explainers\.quick\.name"):
        explain(contexts, examples, {"quick": Slow()}, ExplainSettings(n_units=5), tmp_path / "out")


def test_a_costly_explainer_explains_the_first_units_of_the_draw(contexts: Path, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    explainers = {"slow": Slow(), "token_table": TokenTableExplainer()}
    out = explain(contexts, examples, explainers, ExplainSettings(n_units=4, limits={"slow": 2}), tmp_path / "out")
    explained = [(e.explainer, e.unit) for e in read_explanations(out / "explanations.jsonl")]
    assert [unit for explainer, unit in explained if explainer == "slow"] == [1, 3]  # their draws are 0 and 1
    assert [unit for explainer, unit in explained if explainer == "token_table"] == [0, 1, 3, 4]


@pytest.mark.parametrize("limits", [{"slow": 0}, {"quick": 1}])
def test_a_limit_that_makes_no_sense_stops_before_a_question(contexts: Path, tmp_path: Path, limits: Any) -> None:
    examples = write_examples(tmp_path / "examples", contexts)
    with pytest.raises(SettingError, match=r"explaining\.limits\.(slow=0|quick=1) is not allowed"):
        explain(contexts, examples, {"slow": Slow()}, ExplainSettings(n_units=2, limits=limits), tmp_path / "out")


def test_units_that_a_person_says_nothing_of_have_no_row(contexts: Path, tmp_path: Path) -> None:
    file = tmp_path / "annotations.csv"
    file.write_text("target,unit,explanation\nlatents,3,words with a 3\nneurons,4,no unit of this target\n")
    human = HumanExplainer(str(file)).for_target("latents", ["latents", "neurons"])
    examples = write_examples(tmp_path / "examples", contexts)
    explainers = {"human": human, "token_table": TokenTableExplainer()}
    out = explain(contexts, examples, explainers, ExplainSettings(n_units=3), tmp_path / "out")
    explanations = read_explanations(out / "explanations.jsonl")
    assert [e.text for e in explanations if e.explainer == "human"] == ["words with a 3"]
    assert len(explanations) == 4
    counts = open_artifact(out, "explanations").manifest.counts["explainers"]
    assert counts["human"] == {"n_explained": 1, "n_failed": 0, "prompt_tokens": 0, "completion_tokens": 0}


def test_a_unit_of_a_person_that_is_not_studied_stops_before_anything_is_asked(contexts: Path, tmp_path: Path) -> None:
    file = tmp_path / "annotations.csv"
    file.write_text("target,unit,explanation\nlatents,3,words with a 3\nlatents,0,the unit of the fourth draw\n")
    human = HumanExplainer(str(file)).for_target("latents", ["latents"])
    asked = CachedChat(chat(tmp_path), tmp_path / "answers.sqlite")
    explainers = {"token_activation": TokenActivationExplainer(asked), "human": human}
    examples = write_examples(tmp_path / "examples", contexts)
    with pytest.raises(ArtifactError, match=r"annotations\.csv: line 3: unit=0 is not allowed: one of the 3 units"):
        explain(contexts, examples, explainers, ExplainSettings(n_units=3), tmp_path / "out")
    assert asked.ledger.n_requests == 0
    assert not (tmp_path / "out").exists()
