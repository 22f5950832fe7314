"""The score stage with a scorer that puts simulations into the subject: on the planted model, words known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from planted import CLASSES
from planted_study import PlantedStudy, write_planted_study
from toy_units import WordListSimulator, make_explanation

from latentese import schemas
from latentese.errors import SettingError
from latentese.records import Context, Explanation, Simulation
from latentese.scorers.ablation import AblationScorer
from latentese.stages.score import Judges, score
from latentese.stages.scoring import ScoreSettings
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.tables import read_table, write_explanations

UNITS = range(3)
ABLATION = AblationScorer(["words"])


class Unsure(WordListSimulator):
    """Has no answer to contexts with an even number."""

    name = "unsure"

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        answers = await super().simulate(explanation, contexts)
        return [Simulation(a.context, None, "unsure") if a.context % 2 == 0 else a for a in answers]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def explanations(study: PlantedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained") / "explanations"
    examples = open_artifact(study.places.examples, "examples")
    words = list(CLASSES.values())
    with open_draft(out, "explanations", {"examples": examples}, {}) as draft:
        written = [make_explanation(" ".join(words[unit]), unit) for unit in UNITS]
        write_explanations(written, draft.path / "explanations.jsonl")
        draft.publish({})
    return out


def run(study: PlantedStudy, explanations: Path, out: Path, judges: Judges, settings: ScoreSettings) -> Path:
    return score(study.places.contexts, study.places.examples, explanations, judges, settings, out)


@pytest.fixture(scope="module")
def scored(study: PlantedStudy, explanations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    both = AblationScorer(["words", "unsure"]).with_reader(study.reader())
    judges: Judges = {"words": WordListSimulator(), "unsure": Unsure(), "ablation": both}
    settings = ScoreSettings(limits={"ablation": {"n_units": 2, "splits": ["test"]}}, n_boot=50)
    return run(study, explanations, tmp_path_factory.mktemp("scored") / "scores", judges, settings)


def test_right_words_do_what_the_unit_does_and_another_units_do_not(scored: Path) -> None:
    scores = read_table(scored / "scores.parquet", schemas.SCORES)
    found = scores.filter(simulator="words", metric="ablation")
    own, wrong = (found.filter(control=control)["value"].to_list() for control in ("none", "wrong_explanation"))
    assert len(own) == len(wrong) == 2
    assert min(own) > 0.8
    # Not about 0: wrong words fit as a constant, the mean of `calibrate`, and the mean of `test` is not the best one.
    assert all(right - other > 0.3 for right, other in zip(own, wrong, strict=True))
    assert set(found["contexts"]) == {"top_and_random"} and set(found["split"]) == {"test"}
    effect = scores.filter(simulator="words", metric="ablation_effect", control="none")
    assert effect["value"].min() > 1e-9  # type: ignore[operator]


def test_the_scores_of_simulators_stay_beside_it(scored: Path) -> None:
    scores = read_table(scored / "scores.parquet", schemas.SCORES)
    key = ["explanation", "simulator", "control", "split", "contexts", "metric"]
    assert scores.select(key).is_unique().all()
    words = scores.filter(simulator="words", split="test")
    assert {"correlation", "r2.linear", "ablation"} <= set(words["metric"])
    # Three units are simulated, and two of them replaced.
    assert words.filter(metric="correlation")["unit"].n_unique() == 3
    assert words.filter(metric="ablation")["unit"].n_unique() == 2


def test_every_figure_has_its_rows_and_failures_are_counted(scored: Path) -> None:
    table = read_table(scored / "ablations.parquet", schemas.ABLATIONS)
    simulations = read_table(scored / "simulations.parquet", schemas.SIMULATIONS)
    key = ["explanation", "simulator", "control", "context"]
    assert table.join(simulations, on=key, how="anti").is_empty()
    assert table.group_by("explanation", "simulator", "control").len()["len"].to_list() == [10] * 8
    n_failed = table["simulated"].null_count()
    assert n_failed == table.filter(simulator="unsure", error="unsure").height > 0
    counts = open_artifact(scored, "scores").manifest.counts["scorers"]
    assert counts == {"ablation": {"n_units": 2, "n_judged": table.height - n_failed, "n_failed": n_failed}}
    scores = read_table(scored / "scores.parquet", schemas.SCORES).filter(simulator="unsure", unit=table["unit"][0])
    own = {row["metric"]: row for row in scores.filter(control="none", split="test").to_dicts()}
    assert own["ablation.worst"]["value"] < own["ablation"]["value"]
    assert own["ablation"]["n_failed"] + own["ablation"]["n_judged"] == 10


def test_within_limits_it_chooses_among_what_was_simulated(
    study: PlantedStudy, explanations: Path, tmp_path: Path
) -> None:
    judges: Judges = {"words": WordListSimulator(), "ablation": ABLATION.with_reader(study.reader())}
    limits = {"words": {"n_units": 2, "n_contexts": 4}, "ablation": {"n_units": 2, "n_contexts": 4, "splits": ["test"]}}
    out = run(study, explanations, tmp_path / "scores", judges, ScoreSettings(limits=limits, n_boot=10))
    table = read_table(out / "ablations.parquet", schemas.ABLATIONS)
    assert table.group_by("explanation", "control").len()["len"].to_list() == [4] * 4


def test_a_study_without_such_a_scorer_keeps_no_such_table(
    study: PlantedStudy, explanations: Path, tmp_path: Path
) -> None:
    out = run(study, explanations, tmp_path / "plain", {"words": WordListSimulator()}, ScoreSettings(n_boot=10))
    assert not (out / "ablations.parquet").exists()


@pytest.mark.parametrize(
    ("scorers", "settings", "named"),
    [
        ({"ablation": AblationScorer(["nobody"])}, {}, r"scorers\.ablation\.simulators='nobody'"),
        ({"ablation": ABLATION}, {"splits": ("test",)}, r"scoring\.splits"),
        ({"ablation": ABLATION}, {"limits": {"words": {"splits": ["test"]}}}, r"scoring\.limits\.words\.splits"),
        ({"ablation": ABLATION, "again": AblationScorer(["words"], "again")}, {}, r"scorers\.again\.simulators"),
        ({"other": ABLATION}, {}, r"scorers\.other\.name"),
    ],
)
def test_what_cannot_be_scored_stops_before_anything_is_simulated(
    study: PlantedStudy, tmp_path: Path, scorers: Judges, settings: dict[str, object], named: str
) -> None:
    judges: Judges = {"words": WordListSimulator(), **scorers}
    with pytest.raises(SettingError, match=named):
        run(study, tmp_path / "none", tmp_path / "bad", judges, ScoreSettings(**settings))  # type: ignore[arg-type]
