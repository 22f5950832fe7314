"""The score stage on a small study whose explanations are known to be right or wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scored_study import Study, write_study
from toy_units import WordListSimulator, make_context, make_example

from latentese import schemas
from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import MarkReply, MarkRequest
from latentese.records import Context, Explanation, Simulation, Usage
from latentese.report.explanation_set import SetArtifacts, SetChoice, read_set
from latentese.report.listing import ListSettings, listed
from latentese.scorers.detection import DetectionScorer
from latentese.simulators.all_at_once import AllAtOnceSimulator
from latentese.simulators.base import Simulator
from latentese.simulators.ensemble import EnsembleSimulator
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.score import Judges, score
from latentese.stages.scoring import ScoreSettings, draw_examples
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.tables import read_explanations, read_table, write_explanations


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("study"))


class Mute:
    """A language model that never answers."""

    name = "mute"

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        raise AnswerError("no answer today")


SIMULATORS: Mapping[str, Simulator] = {"token_table": TokenTableSimulator(), "words": WordListSimulator()}
SETTINGS = ScoreSettings(n_boot=50)


def run(study: Study, out: Path, settings: ScoreSettings = SETTINGS, simulators: Judges = SIMULATORS) -> Path:
    return score(study.contexts, study.examples, study.explanations, simulators, settings, out)


@pytest.fixture(scope="module")
def scored(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(study, tmp_path_factory.mktemp("scored") / "scores")


def values(scored: Path, **where: object) -> dict[int, float | None]:
    scores = read_table(scored / "scores.parquet", schemas.SCORES)
    found = scores.filter(contexts="top_and_random", split="test", metric="correlation").filter(**where)
    return dict(zip(found["unit"].to_list(), found["value"].to_list(), strict=True))


def test_right_explanations_score_one_and_others_do_not(scored: Path) -> None:
    right = values(scored, simulator="words", control="none")
    assert set(right) == {0, 1, 4}  # unit 2 has no explanation in words
    assert right[0] == pytest.approx(1)
    assert right[1] is not None and 0.2 < right[1] < 0.95
    wrong = values(scored, simulator="words", control="wrong_explanation")
    assert all(value is None or value < 0.3 for value in wrong.values())


def test_simulators_judge_only_what_they_read(scored: Path) -> None:
    simulations = read_table(scored / "simulations.parquet", schemas.SIMULATIONS)
    assert set(simulations.filter(simulator="token_table")["explanation"].unique()) == {
        f"{u}.table.0" for u in (0, 1, 2, 4)
    }
    assert set(simulations["split"].unique()) == {"calibrate", "select", "test"}
    assert set(simulations["kind"].unique()) == {"top", "random"}


def test_the_control_is_recorded_and_another_units(scored: Path) -> None:
    counts = open_artifact(scored, "scores").manifest.counts
    wrong = counts["wrong_explanations"]["words"]
    assert set(wrong) == {"0.reader.0", "1.reader.0", "4.reader.0"} == set(wrong.values())
    assert all(own != other for own, other in wrong.items())
    assert (counts["n_explanations"], counts["n_without_text"]) == (8, 5)


def test_no_document_is_in_two_splits(scored: Path, study: Study) -> None:
    simulations = read_table(scored / "simulations.parquet", schemas.SIMULATIONS)
    explained = read_table(study.examples / "examples.parquet", schemas.EXAMPLES).filter(split="explain")["context"]
    contexts = read_table(study.contexts / "contexts.parquet", schemas.CONTEXTS)
    documents = {split: set(simulations.filter(split=split)["document"]) for split in ("calibrate", "select", "test")}
    documents["explain"] = set(contexts.filter(pl.col("context").is_in(explained.to_list()))["document"])
    assert sum(map(len, documents.values())) == len(set().union(*documents.values()))


def test_the_same_inputs_give_the_same_bytes(scored: Path, study: Study, tmp_path: Path) -> None:
    again = run(study, tmp_path / "again")
    for name in ("simulations.parquet", "scores.parquet", "manifest.json"):
        assert (again / name).read_bytes() == (scored / name).read_bytes()


def test_limits_spare_a_costly_simulator_and_failures_are_rows(study: Study, tmp_path: Path) -> None:
    limit = {"n_units": 2, "n_contexts": 4, "splits": ["test"], "explainers": ["reader"]}
    settings = ScoreSettings(limits={"all_at_once": limit}, n_boot=10)
    out = run(study, tmp_path / "limited", settings, {"all_at_once": AllAtOnceSimulator(Mute())})
    simulations = read_table(out / "simulations.parquet", schemas.SIMULATIONS)
    assert simulations["unit"].n_unique() == 2
    assert simulations.height == 2 * 2 * 4
    assert set(simulations["error"]) == {"no answer today"}
    scores = read_table(out / "scores.parquet", schemas.SCORES)
    assert scores["value"].null_count() == scores.height > 0
    assert open_artifact(out, "scores").manifest.counts["simulators"]["all_at_once"] == {
        "n_units": 2,
        "n_judged": 0,
        "n_failed": 16,
        "prompt_tokens": 0,
    }


def test_a_draw_of_examples_keeps_both_kinds() -> None:
    examples = [make_example(make_context(i, "a b"), {"b"}, "top" if i < 7 else "random") for i in range(10)]
    drawn = draw_examples(examples, 4, seed=1)
    assert [example.kind for example in drawn] == ["top", "top", "random", "random"]
    assert [e.kind for e in draw_examples(examples, 8, seed=1)].count("random") == 3
    assert draw_examples(examples, None, 1) == draw_examples(examples, 10, 1) == examples


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"splits": ("train",)}, "scoring.splits"),
        ({"limits": {"words": {"n_units": 0}}}, "n_units"),
        ({"limits": {"nobody": {"n_units": 1}}}, "scoring.limits"),
        ({"limits": {"words": {"splits": ["tset"]}}}, r"scoring\.limits\.\*\.splits=\['tset'\].*select"),
        ({"limits": {"words": {"splits": "test"}}}, r"scoring\.limits\.\*\.splits='test'"),
        ({"limits": {"words": {"splits": []}}}, r"scoring\.limits\.\*\.splits=\[\]"),
        ({"splits": ("select",), "limits": {"words": {"splits": ["test"]}}}, r"scoring\.limits\.words\.splits"),
        ({"limits": {"words": {"explainers": []}}}, r"scoring\.limits\.\*\.explainers=\[\]"),
        ({"limits": {"words": {"explainers": ["reeder"]}}}, r"limits\.words\.explainers=\['reeder'\].*reader, table"),
    ],
)
def test_bad_settings_stop_at_once(study: Study, tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        run(study, tmp_path / "bad", ScoreSettings(**settings))  # type: ignore[arg-type]
    assert not (tmp_path / "bad").exists()


def test_a_limit_to_who_had_nothing_to_say_is_none_to_somebody_unknown(study: Study, tmp_path: Path) -> None:
    source = open_artifact(study.explanations, "explanations")
    with open_draft(tmp_path / "explanations", "explanations", {}, {"explainers": ["human", "reader"]}) as draft:
        write_explanations(read_explanations(source.file("explanations.jsonl")), draft.path / "explanations.jsonl")
        draft.publish({})
    with_human = replace(study, explanations=tmp_path / "explanations")
    settings = ScoreSettings(limits={"words": {"explainers": ["human"]}}, n_boot=10)
    out = run(with_human, tmp_path / "scores", settings)
    assert open_artifact(out, "scores").manifest.counts["simulators"]["words"]["n_judged"] == 0


class FirstLetters(WordListSimulator):
    """Expects 1 on tokens that begin like a word of the explanation, which every token of the toy contexts does."""

    name = "letters"

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        return [
            Simulation(context.context, tuple(float(len(token.strip()) % 3) for token in context.tokens))
            for context in contexts
        ]


def test_an_ensemble_weighs_its_members_on_calibrate_and_is_scored_like_them(study: Study, tmp_path: Path) -> None:
    members: dict[str, Simulator] = {"words": WordListSimulator(), "letters": FirstLetters()}
    simulators = {"both": EnsembleSimulator(("words", "letters"), "both"), **members}
    settings = ScoreSettings(limits={"letters": {"n_units": 2, "n_contexts": 6}}, n_boot=10)
    out = run(study, tmp_path / "scores", settings, simulators)
    counts = open_artifact(out, "scores").manifest.counts
    fit = counts["ensembles"]["both"]
    assert fit["weights"]["words"] > 0
    assert sum(fit["shares"].values()) == pytest.approx(1)
    assert fit["n_units"] == counts["simulators"]["both"]["n_units"] == 2
    # The limit of one member is the limit of both: as many rows as that member has.
    assert counts["simulators"]["both"] == counts["simulators"]["letters"]
    alone, together = (values(out, simulator=name, control="none") for name in ("words", "both"))
    assert set(together) < set(alone)
    wrong = values(out, simulator="both", control="wrong_explanation")
    assert set(wrong) == set(together)


@pytest.mark.parametrize(
    ("members", "settings", "named"),
    [
        (("words", "nobody"), {}, r"simulators\.both\.members='nobody'"),
        (("words", "both"), {}, r"simulators\.both\.members='both'"),
        (("words", "token_table"), {"splits": ("select", "test")}, r"scoring\.splits"),
        (("words", "token_table"), {"limits": {"words": {"splits": ["test"]}}}, r"scoring\.limits\.words\.splits"),
        (("words", "token_table"), {"limits": {"both": {"n_units": 1}}}, r"scoring\.limits\.both=.*its members, words"),
    ],
)
def test_ensembles_that_cannot_be_fitted_stop_at_once(
    study: Study, tmp_path: Path, members: tuple[str, str], settings: dict[str, object], named: str
) -> None:
    simulators = {**SIMULATORS, "both": EnsembleSimulator(members, "both")}
    with pytest.raises(SettingError, match=named):
        run(study, tmp_path / "bad", ScoreSettings(**settings, n_boot=10), simulators)  # type: ignore[arg-type]


def test_no_limit_of_a_judge_is_no_limit() -> None:
    assert ScoreSettings(limits={"words": None}).limit_of("words").n_units is None  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"splits": ("test",)}, r"scoring\.splits.*select among them"),
        ({"limits": {"words": {"splits": ["test"]}}}, r"scoring\.limits\.words\.splits=\['test'\]"),
        ({"limits": {"words": {"explainers": ["table"]}}}, r"scoring\.limits\.words\.explainers=\['table'\].*reader"),
        ({"limits": {"words": {"n_units": 3}}}, r"scoring\.limits\.words\.n_units=3.*at least the 4 units"),
    ],
)
def test_what_refinement_compares_must_be_scored(settings: dict[str, object], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        ScoreSettings(**settings).check_refined("words", "reader", 4)  # type: ignore[arg-type]
    ScoreSettings(limits={"words": {"n_units": 4, "n_contexts": 1}}).check_refined("words", "reader", 4)


def test_what_is_fitted_on_calibrate_is_kept_beside_the_scores(scored: Path) -> None:
    fits = read_table(scored / "calibrations.parquet", schemas.CALIBRATIONS).filter(simulator="words", control="none")
    assert dict(zip(fits["unit"], fits["threshold"], strict=True)) == {0: 1.0, 1: 1.0, 4: 1.0}
    # Unit 0 fires with 3 exactly where its word stands.
    [first] = fits.filter(unit=0).to_dicts()
    assert (first["slope"], first["intercept"]) == pytest.approx((3, 0), abs=1e-9)
    scores = read_table(scored / "scores.parquet", schemas.SCORES)
    assert set(scores["split"]) == {"select", "test"}
    own = scores.filter(unit=0, simulator="words", control="none", split="test", contexts="top_and_random")
    value = dict(zip(own["metric"], own["value"], strict=True))
    assert value["r2.linear"] == pytest.approx(1)
    assert (value["precision"], value["recall"], value["f1"]) == (1, 1, 1)


class Knows:
    """Says yes where a text holds a word of the explanation, except as its first, which counts nowhere."""

    name = "knows"

    async def next_token_logprobs(self, request: MarkRequest) -> MarkReply:
        about, text = request.messages[-2].content.split("\nText: ")
        words = set(about.removeprefix("Explanation: ").split())
        yes = 0.9 if words & {word.strip(" .,") for word in text.split()[1:]} else 0.1
        return MarkReply(((math.log(yes), math.log(1 - yes)),), Usage(5, 0))


def test_a_scorer_limited_to_what_simulations_are_fitted_on_would_score_nothing(study: Study, tmp_path: Path) -> None:
    judges = {**SIMULATORS, "detection": DetectionScorer(Knows())}
    settings = ScoreSettings(limits={"detection": {"splits": ["calibrate"]}})
    with pytest.raises(SettingError, match=r"scoring\.limits\.detection\.splits=\['calibrate'\].*select or test"):
        run(study, tmp_path / "bad", settings, judges)


def test_scorers_stand_beside_simulators(study: Study, tmp_path: Path) -> None:
    judges = {**SIMULATORS, "detection": DetectionScorer(Knows())}
    out = run(study, tmp_path / "scored", ScoreSettings(limits={"detection": {"n_contexts": 6}}, n_boot=20), judges)
    judgements = read_table(out / "judgements.parquet", schemas.JUDGEMENTS)
    assert set(judgements["split"].unique()) == {"select", "test"}  # there is nothing to fit on calibrate
    assert judgements.group_by("explanation", "control", "split").len()["len"].max() == 6
    found = read_table(out / "scores.parquet", schemas.SCORES).filter(
        simulator="detection", split="test", contexts="all_kinds", metric="auroc"
    )
    own = found.filter(control="none", unit=0)["value"].item()
    wrong = found.filter(control="wrong_explanation", unit=0)["value"].item()
    assert own == 1 and (wrong is None or wrong < 1)
    counts = open_artifact(out, "scores").manifest.counts
    assert counts["scorers"] == {
        "detection": {"n_units": judgements["unit"].n_unique(), "n_judged": judgements.height, "n_failed": 0}
    }
    assert set(counts["wrong_explanations"]) == {*SIMULATORS, "detection"}
    folder = tmp_path / "latents"
    folder.mkdir()
    (folder / "explanations").symlink_to(study.explanations)
    (folder / "scores").symlink_to(out)
    by_detection = listed(folder, ListSettings("detection"))
    assert by_detection.filter(unit=0, explainer="reader")["value"].item() == 1, "of a scorer, auroc is listed"
    assert_frame_equal(listed(folder, ListSettings()), listed(folder, ListSettings("token_table", "correlation")))
    with pytest.raises(SettingError, match=r"--simulator='detection' is not allowed: one of now: token_table, words"):
        read_set("now", SetArtifacts(study.explanations, out, None), SetChoice("reader", "detection"))


def test_a_scorer_under_another_name_is_one_line(study: Study, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"scorers\.other\.name"):
        run(study, tmp_path / "scored", SETTINGS, {"other": DetectionScorer(Knows())})
