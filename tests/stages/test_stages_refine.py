"""The refine stage on a small study: what helps is accepted, what does not is not, and both arms obey one rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from scored_study import Study, write_study
from toy_units import WordListSimulator, make_context, make_example, make_explanation

from latentese import schemas
from latentese.errors import ArtifactError, SettingError
from latentese.lm.cached import CachedChat
from latentese.lm.protocol import Reply, Request
from latentese.records import Context, Example, Explanation, Simulation, Unit, Usage
from latentese.refinement.base import Arm
from latentese.refinement.controls import RandomExamples, RandomSentences
from latentese.refinement.generated import GeneratedSentences
from latentese.refinement.re_explanation import ReExplanation
from latentese.refinement.revise import Reviser
from latentese.refinement.sentences import SENTENCES_PROMPT, SentenceWriter
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.refine import refine
from latentese.stages.refining import RefineInputs, RefineSettings
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_explanations, read_table

SETTINGS = RefineSettings(
    "reader", threshold=0.97, n_rounds=3, patience=2, n_candidates=40, expected_high=0.5, n_boot=20
)


class Answers:
    """A language model given as a function of the question."""

    name = "answers"

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.answer = answer

    async def complete(self, request: Request) -> Reply:
        return Reply(self.answer(request.messages[-2].content), Usage(10, 2), "stop")


class SameAgain:
    """An explainer that always says the same."""

    name = "reader"

    async def explain(self, unit: Unit, examples: Sequence[Example]) -> Explanation:
        return make_explanation("w9", unit.unit, examples=tuple(e.context.context for e in examples))


def improve(question: str) -> str:
    """Unit 4 lacks a word; unit 1 has one too many."""
    return "w4 w5" if "w4" in question.splitlines()[0] else "w1"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> RefineInputs:
    folder = tmp_path_factory.mktemp("study")
    study: Study = write_study(folder)
    simulators = {"words": WordListSimulator()}
    scores = score(
        study.contexts, study.examples, study.explanations, simulators, ScoreSettings(n_boot=20), folder / "scores"
    )
    return RefineInputs(study.contexts, study.examples, study.explanations, scores)


def arms(answer: Callable[[str], str]) -> dict[str, Arm]:
    return {"revision": Reviser(Answers(answer)), "re_explanation": ReExplanation(SameAgain())}


def run(
    inputs: RefineInputs, out: Path, answer: Callable[[str], str] = improve, settings: RefineSettings = SETTINGS
) -> Path:
    return refine(inputs, WordListSimulator(), arms(answer), settings, out)


@pytest.fixture(scope="module")
def refined(inputs: RefineInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(inputs, tmp_path_factory.mktemp("refined") / "refined")


def decisions(refined: Path) -> pl.DataFrame:
    return read_table(refined / "decisions.parquet", schemas.DECISIONS)


def test_better_explanations_are_accepted_and_the_control_is_not(refined: Path) -> None:
    finals = read_table(refined / "finals.parquet", schemas.FINALS)
    ends = {(row["unit"], row["arm"]): row["explanation"] for row in finals.to_dicts()}
    assert ends == {
        (0, "initial"): "0.reader.0", (0, "revision"): "0.reader.0", (0, "re_explanation"): "0.reader.0",
        (1, "initial"): "1.reader.0", (1, "revision"): "1.revision.1", (1, "re_explanation"): "1.reader.0",
        (4, "initial"): "4.reader.0", (4, "revision"): "4.revision.1", (4, "re_explanation"): "4.reader.0",
    }  # fmt: skip
    assert dict(finals.group_by("unit").agg(pl.col("refined").all()).iter_rows()) == {0: False, 1: True, 4: True}


def test_test_scores_are_of_finals_only_and_select_scores_of_all(refined: Path) -> None:
    scores = read_table(refined / "scores.parquet", schemas.SCORES).filter(contexts="top_and_random")
    assert set(scores.filter(split="test")["explanation"]) == {"1.revision.1", "4.revision.1"}
    assert scores.filter(split="test", explanation="1.revision.1")["value"].item() == pytest.approx(1)
    assert set(scores.filter(split="select")["explanation"]) >= {"1.re_explanation.1", "4.re_explanation.2"}


def test_decisions_say_what_was_shown_and_why(refined: Path) -> None:
    table = decisions(refined)
    first = table.filter(unit=4, arm="revision", round=1).to_dicts()[0]
    assert first["accepted"] and first["why"].startswith("gain +")
    assert first["select_child"] > first["select_parent"]
    assert first["false_negatives"] and not first["extra_examples"]
    control = table.filter(unit=4, arm="re_explanation", round=1).to_dicts()[0]
    assert len(control["extra_examples"]) == len(first["false_positives"] + first["false_negatives"])
    assert not control["false_positives"] + control["false_negatives"]


def test_patience_ends_an_arm(refined: Path) -> None:
    assert decisions(refined).filter(arm="re_explanation")["round"].max() == SETTINGS.patience


def test_evidence_is_of_explain_documents_never_shown_before_one_per_document(
    refined: Path, inputs: RefineInputs
) -> None:
    contexts = read_table(inputs.contexts / "contexts.parquet", schemas.CONTEXTS)
    initial = {
        e.unit: e for e in read_explanations(inputs.explanations / "explanations.jsonl") if e.explainer == "reader"
    }
    for (unit, _), rows in decisions(refined).group_by(["unit", "arm"], maintain_order=True):
        seen = set(initial[int(unit)].examples)  # type: ignore[call-overload]
        for row in rows.to_dicts():
            shown = row["false_positives"] + row["false_negatives"] + row["extra_examples"]
            found = contexts.filter(pl.col("context").is_in(shown))
            assert set(found["split"]) <= {"explain"}
            assert found["document"].n_unique() == len(shown)
            assert not seen & set(shown)
            seen |= set(shown)


def test_new_explanations_name_their_parents(refined: Path) -> None:
    parents = {e.explanation: e.parent for e in read_explanations(refined / "explanations.jsonl")}
    assert parents["4.revision.1"] == "4.reader.0"
    assert set(decisions(refined)["child"].drop_nulls()) == set(parents)


def test_failed_answers_and_repeated_words_are_rejected_with_a_reason(inputs: RefineInputs, tmp_path: Path) -> None:
    out = run(inputs, tmp_path / "out", lambda question: "" if "w9" in question.splitlines()[0] else "w4")
    why = {
        row["unit"]: (row["accepted"], row["why"]) for row in decisions(out).filter(arm="revision", round=1).to_dicts()
    }
    assert why == {1: (False, "no usable answer: empty answer"), 4: (False, "the same words as its parent")}


def test_the_same_inputs_give_the_same_bytes(refined: Path, inputs: RefineInputs, tmp_path: Path) -> None:
    again = run(inputs, tmp_path / "again")
    for file in sorted(refined.iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_nothing_under_the_threshold_leaves_everything_as_it_was(inputs: RefineInputs, tmp_path: Path) -> None:
    settings = RefineSettings("reader", threshold=-1.0)
    out = run(inputs, tmp_path / "out", settings=settings)
    assert decisions(out).height == 0 == len(read_explanations(out / "explanations.jsonl"))
    assert not read_table(out / "finals.parquet", schemas.FINALS)["refined"].any()


def test_what_cannot_be_refined_stops_with_one_line(inputs: RefineInputs, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"refinement\.explainer"):
        run(inputs, tmp_path / "out", settings=RefineSettings("nobody"))
    with pytest.raises(SettingError, match="n_rounds"):
        run(inputs, tmp_path / "out", settings=RefineSettings("reader", n_rounds=0))
    with pytest.raises(SettingError, match=r"refinement\.simulator='token_table' is not allowed: .* what reader says"):
        refine(inputs, TokenTableSimulator(), arms(improve), SETTINGS, tmp_path / "out")
    other = WordListSimulator()
    other.name = "unscored"
    with pytest.raises(ArtifactError, match=r"0\.reader\.0 has no select score by unscored"):
        refine(inputs, other, arms(improve), SETTINGS, tmp_path / "out")


def test_revisions_are_judged_on_the_contexts_of_a_limited_score(inputs: RefineInputs, tmp_path: Path) -> None:
    settings = ScoreSettings(n_boot=20, limits={"words": {"n_contexts": 4}})
    judges = {"words": WordListSimulator()}
    few = score(inputs.contexts, inputs.examples, inputs.explanations, judges, settings, tmp_path / "few")
    out = run(replace(inputs, scores=few), tmp_path / "out")
    key = ["unit", "split", "context", "kind"]
    scored, refined = (read_table(path / "simulations.parquet", schemas.SIMULATIONS) for path in (few, out))
    first = scored.filter(control="none").join(refined, on=["unit", "split"], how="semi")
    assert refined.height > 0 and refined.join(first, on=key, how="anti").is_empty()
    assert set(refined.group_by("explanation", "split").len()["len"]) == {4}


class LongFails(WordListSimulator):
    """Expects 1 on `w4` for anything said of unit 4, and has no answer on most contexts for what is said at length."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        found = await super().simulate(replace(explanation, text=(explanation.text or "").split()[0]), contexts)
        is_long = len((explanation.text or "").split()) > 2
        return [
            replace(one, expected=None, error="no answer") if is_long and context.context % 3 else one
            for one, context in zip(found, contexts, strict=True)
        ]


def test_an_explanation_gains_nothing_by_the_answers_it_has_not(inputs: RefineInputs, tmp_path: Path) -> None:
    judges = {"words": LongFails()}
    settings = ScoreSettings(n_boot=20)
    scores = score(inputs.contexts, inputs.examples, inputs.explanations, judges, settings, tmp_path / "scores")
    longer = {"revision": Reviser(Answers(lambda question: "w4 and the like"))}
    out = refine(replace(inputs, scores=scores), LongFails(), longer, SETTINGS, tmp_path / "out")
    table = decisions(out).filter(unit=4)
    assert table.height == SETTINGS.patience and not table["accepted"].any()
    assert table["select_child"].to_list() == table["select_parent"].to_list()
    assert set(table["why"]) == {"gain +0.000 on select, not above 0.01"}
    child = read_table(out / "simulations.parquet", schemas.SIMULATIONS).filter(unit=4)
    assert child["expected_acts"].null_count() > 0, "some were not answered"


def test_each_control_with_random_texts_shows_as_many_as_the_arm_it_is_of(inputs: RefineInputs, tmp_path: Path) -> None:
    revision = Reviser(Answers(improve))
    made: dict[str, Arm] = {"revision": revision, "random_examples": RandomExamples(revision)}
    out = refine(inputs, WordListSimulator(), made, SETTINGS, tmp_path / "out")
    first = {(row["unit"], row["arm"]): row for row in decisions(out).filter(round=1).to_dicts()}
    for unit in (1, 4):
        shown, random = first[unit, "revision"], first[unit, "random_examples"]
        n_shown = len(shown["false_positives"] + shown["false_negatives"])
        assert n_shown == len(random["random_examples"]) > 0
        assert not random["false_positives"] + random["false_negatives"]
    counts = open_artifact(out, "refined").manifest.counts["arms"]
    assert {name: arm.get("control_of") for name, arm in counts.items()} == {
        "revision": None,
        "random_examples": "revision",
    }


class WordReader:
    """A subject whose unit u fires on `w{u}` alone; texts stand behind a line break, as the real one reads them."""

    def examples(self, units: Sequence[Unit], texts: Sequence[str]) -> list[list[Example]]:
        contexts = [make_context(-1 - i, f"\n {text}", "explain") for i, text in enumerate(texts)]
        return [[make_example(context, {f"w{u.unit}"}, unit=u.unit) for context in contexts] for u in units]


def written_arms(sentences: str) -> dict[str, Arm]:
    chat = Answers(lambda question: sentences if question.startswith("Description:") else improve(question))
    generated = GeneratedSentences(Reviser(chat), SentenceWriter(chat)).with_reader(WordReader())  # type: ignore[arg-type]
    return {"generated": generated, "random_sentences": RandomSentences(generated)}


def test_written_sentences_are_evidence_and_stay_traceable(inputs: RefineInputs, tmp_path: Path) -> None:
    made = written_arms("1. here w1 and w4\n2. here w9\n3. there w9 w9")
    out = refine(inputs, WordListSimulator(), made, SETTINGS, tmp_path / "out")
    sentences = read_table(out / "sentences.parquet", schemas.SENTENCES)
    first = decisions(out).filter(unit=1, arm="generated", round=1).to_dicts()[0]
    assert first["accepted"]  # `w9 w1` became `w1`
    silent = sentences.filter(pl.col("acts").list.max() <= 0, unit=1, arm="generated", round=1)
    assert set(first["sentences"]) == set(silent["sentence"]) == {-2, -3}
    control = decisions(out).filter(unit=1, arm="random_sentences", round=1).to_dicts()[0]
    assert len(control["random_examples"]) == 2 and not control["sentences"]
    contexts = read_table(inputs.contexts / "contexts.parquet", schemas.CONTEXTS)
    assert set(contexts.filter(pl.col("context").is_in(control["random_examples"]))["split"]) == {"explain"}
    assert set(sentences["prompt_sha256"]) == {SENTENCES_PROMPT.sha256}
    counts = open_artifact(out, "refined").manifest.counts["arms"]["generated"]
    assert counts["n_sentences"] == sentences.filter(arm="generated").height
    assert counts["n_silent_sentences"] > 0 == counts["n_failed_sentences"]


def test_written_sentences_give_the_same_bytes_and_all_their_tokens_are_counted(
    inputs: RefineInputs, tmp_path: Path
) -> None:
    first, again = (
        refine(inputs, WordListSimulator(), written_arms("1. here w9\n2. there w9 w9"), SETTINGS, tmp_path / name)
        for name in ("first", "again")
    )
    for file in sorted(first.iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes()
    counts = open_artifact(first, "refined").manifest.counts["arms"]["generated"]
    # Every question costs 10 tokens: one for sentences in every round that was decided, and one per proposal.
    n_rounds = decisions(first).filter(arm="generated").height
    assert counts["prompt_tokens"] == 10 * (n_rounds + counts["n_proposed"])
    assert n_rounds > 0 < counts["n_proposed"]


def test_sentences_that_all_fire_leave_nothing_to_revise(inputs: RefineInputs, tmp_path: Path) -> None:
    out = refine(inputs, WordListSimulator(), written_arms("1. w1 w4"), SETTINGS, tmp_path / "out")
    assert set(decisions(out)["why"]) == {"the unit fires on every sentence"}
    assert read_explanations(out / "explanations.jsonl") == []


def test_silent_sentences_that_were_shown_leave_nothing_new(inputs: RefineInputs, tmp_path: Path) -> None:
    chat = Answers(lambda question: "1. here w9" if question.startswith("Description:") else "w8")
    generated = GeneratedSentences(Reviser(chat), SentenceWriter(chat)).with_reader(WordReader())  # type: ignore[arg-type]
    out = refine(inputs, WordListSimulator(), {"generated": generated}, SETTINGS, tmp_path / "out")
    # The revision is rejected, so the same sentence is written for the same explanation again.
    second = decisions(out).filter(round=2)
    assert set(second["why"]) == {"no silent sentence that was not shown"} and second.height == 2


def test_answers_without_sentences_are_counted(inputs: RefineInputs, tmp_path: Path) -> None:
    out = refine(inputs, WordListSimulator(), written_arms("I will not."), SETTINGS, tmp_path / "out")
    assert all(why.startswith("no sentence: no numbered sentence") for why in decisions(out)["why"])
    counts = open_artifact(out, "refined").manifest.counts["arms"]["generated"]
    assert counts["n_failed_sentences"] == 2  # units 1 and 4, once each: an arm that has nothing to show is over


def test_a_budget_ends_the_run_with_a_counted_row_per_course(inputs: RefineInputs, tmp_path: Path) -> None:
    whole = run(inputs, tmp_path / "whole")
    # Each of the two revisions of round 1 costs 10 prompt tokens: from round 2 on nothing is asked.
    out = run(inputs, tmp_path / "out", settings=replace(SETTINGS, max_prompt_tokens=20))
    table = decisions(out)
    assert table.filter(round=1).equals(decisions(whole).filter(round=1))
    later = table.filter(pl.col("round") > 1)
    assert set(later["why"]) == {"budget"} and set(later["round"]) == {2}
    assert later.height == 4 and later["child"].null_count() == 4
    counts = open_artifact(out, "refined").manifest.counts["arms"]["revision"]
    assert (counts["prompt_tokens"], counts["n_over_budget"], counts["share_accepted"]) == (20, 2, 1.0)
    proposed = table.filter(pl.col("child").is_not_null(), arm="revision")  # what the report takes for proposals
    assert (counts["n_proposed"], counts["share_accepted"]) == (proposed.height, proposed["accepted"].mean())
    finals = dict(
        read_table(out / "finals.parquet", schemas.FINALS).filter(arm="revision")["unit", "explanation"].rows()
    )
    assert finals == {0: "0.reader.0", 1: "1.revision.1", 4: "4.revision.1"}  # what was accepted stays


class Priced(WordListSimulator):
    """Has three tokens read for every context."""

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        found = await super().simulate(explanation, contexts)
        return [replace(simulation, usage=Usage(3, 1)) for simulation in found]


def test_what_the_simulator_reads_is_spent_too(inputs: RefineInputs, tmp_path: Path) -> None:
    free = refine(inputs, WordListSimulator(), written_arms("1. w9"), SETTINGS, tmp_path / "free")
    priced = refine(inputs, Priced(), written_arms("1. w9"), SETTINGS, tmp_path / "priced")
    assert decisions(free).equals(decisions(priced))
    for arm in ("generated", "random_sentences"):
        before, after = (open_artifact(out, "refined").manifest.counts["arms"][arm] for out in (free, priced))
        read = after["simulator_prompt_tokens"]
        # Sentences and `select` contexts of two units: the pool's candidates, 30 each, are not mined for these arms.
        assert before["simulator_prompt_tokens"] == 0 and 0 < read < 2 * 3 * 30
        assert after["prompt_tokens"] == before["prompt_tokens"] + read
        assert after["completion_tokens"] == before["completion_tokens"] + read // 3
    settings = replace(SETTINGS, max_prompt_tokens=before["prompt_tokens"] + 1)
    short = refine(inputs, Priced(), written_arms("1. w9"), settings, tmp_path / "short")
    assert set(decisions(short).filter(pl.col("round") > 1)["why"]) == {"budget"}


def test_a_budget_of_nothing_asks_nothing(inputs: RefineInputs, tmp_path: Path) -> None:
    def never(question: str) -> str:
        raise AssertionError(question)

    out = run(inputs, tmp_path / "out", never, replace(SETTINGS, max_prompt_tokens=0))
    assert set(decisions(out)["why"]) == {"budget"} and decisions(out).height == 4
    assert read_explanations(out / "explanations.jsonl") == []
    with pytest.raises(SettingError, match="max_prompt_tokens"):
        replace(SETTINGS, max_prompt_tokens=-1)


def test_more_budget_asks_only_what_is_missing_and_gives_the_bytes_of_a_run_without_kept_answers(
    inputs: RefineInputs, tmp_path: Path
) -> None:
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return improve(question) if len(question) % 2 else "w9"

    def with_cache(name: str, budget: int | None) -> Path:
        chat = CachedChat(Answers(answer), tmp_path / name)
        made: dict[str, Arm] = {"revision": Reviser(chat), "re_explanation": ReExplanation(SameAgain())}
        settings = replace(SETTINGS, max_prompt_tokens=budget)
        return refine(inputs, WordListSimulator(), made, settings, tmp_path / f"{len(asked)}-{budget}")

    with_cache("kept.sqlite", 10)
    n_first = len(asked)
    more = with_cache("kept.sqlite", 40)
    assert n_first == 2 and len(asked) == len(set(asked))
    fresh = with_cache("other.sqlite", 40)
    assert [f.read_bytes() for f in sorted(more.iterdir())] == [f.read_bytes() for f in sorted(fresh.iterdir())]


def test_the_manifest_says_what_each_arm_gained_and_at_what_cost(refined: Path, inputs: RefineInputs) -> None:
    tables = [read_table(folder / "scores.parquet", schemas.SCORES) for folder in (inputs.scores, refined)]
    scores = pl.concat(tables).filter(simulator="words", control="none", split="test", contexts="top_and_random")
    values = dict(scores.filter(metric="correlation")["explanation", "value"].rows())
    gain = sum(values[f"{unit}.revision.1"] - values[f"{unit}.reader.0"] for unit in (1, 4)) / 2
    arms = open_artifact(refined, "refined").manifest.counts["arms"]
    counts, control = arms["revision"], arms["re_explanation"]
    assert gain > 0 and counts["test_gain"] == pytest.approx(gain) and counts["n_compared"] == 2
    assert counts["prompt_tokens"] == 10 * counts["n_proposed"]
    assert counts["gain_per_1000_prompt_tokens"] == pytest.approx(gain * 1000 / counts["prompt_tokens"])
    assert counts["prompt_tokens_per_point"] == pytest.approx(counts["prompt_tokens"] / (gain * 100))
    assert (control["test_gain"], control["share_accepted"]) == (0, 0)
    assert control["prompt_tokens_per_point"] is None is control["gain_per_1000_prompt_tokens"]
