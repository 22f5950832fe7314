"""The cascade on a small study: what it reads, what it spends, and what it says of units that fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from scored_study import Study, write_study
from toy_units import WordListSimulator

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.records import Context, Explanation, Simulation, Usage
from latentese.report.cascade import CascadeFindings, page, read_cascade
from latentese.simulators.base import Simulator
from latentese.simulators.token_table import TokenTableSimulator
from latentese.stages.cascade import CascadeInputs, CascadeSettings, cascade
from latentese.stages.score import score
from latentese.stages.scoring import ScoreSettings
from latentese.store.artifact import open_artifact
from latentese.store.tables import read_table

SETTINGS = CascadeSettings(
    explainer="table", cheap=[["reader", "words"]], n_units=4, n_contexts=8, share=0.5, n_first=2,
    n_together=1,
)  # fmt: skip
TOKENS = 10
N_CONTEXTS = 31
"""Three units have 8 test contexts, one has 7."""


class Costly:
    """Looks tokens up for ten prompt tokens a context, says what it read, and fails on one unit."""

    name = "costly"

    def __init__(self, fails_on: int | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self.fails_on = fails_on

    def reads(self, explanation: Explanation) -> bool:
        return TokenTableSimulator().reads(explanation)

    async def simulate(self, explanation: Explanation, contexts: Sequence[Context]) -> list[Simulation]:
        self.asked += [(explanation.unit, context.context) for context in contexts]
        if explanation.unit == self.fails_on:
            return [Simulation(context.context, None, "no answer") for context in contexts]
        told = await TokenTableSimulator().simulate(explanation, contexts)
        return [replace(one, usage=Usage(TOKENS)) for one in told]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def inputs(study: Study, tmp_path_factory: pytest.TempPathFactory) -> CascadeInputs:
    simulators: dict[str, Simulator] = {"words": WordListSimulator()}
    out = tmp_path_factory.mktemp("scored") / "scores"
    scores = score(study.contexts, study.examples, study.explanations, simulators, ScoreSettings(n_boot=20), out)
    return CascadeInputs(study.contexts, study.examples, study.explanations, scores)


def rows(folder: Path) -> pl.DataFrame:
    return read_table(folder / "cascade.parquet", schemas.CASCADE)


def test_it_reads_its_share_and_no_context_twice(inputs: CascadeInputs, tmp_path: Path) -> None:
    costly = Costly()
    out = cascade(inputs, costly, SETTINGS, tmp_path / "out")
    units = rows(out)
    assert units["unit"].to_list() == [0, 1, 2, 4]
    assert units["n_read"].sum() == len(costly.asked) == N_CONTEXTS // 2
    assert open_artifact(out, "cascade").manifest.counts["n_contexts"] == N_CONTEXTS
    assert len(set(costly.asked)) == len(costly.asked)
    assert units["n_read"].min() == 2  # type: ignore[comparison-overlap]
    assert units["prompt_tokens"].to_list() == [TOKENS * n for n in units["n_read"]]
    assert units["full"].null_count() == 4
    test = set(read_table(inputs.contexts / "contexts.parquet", schemas.CONTEXTS).filter(split="test")["context"])
    assert {context for _, context in costly.asked} <= test


def test_a_share_of_less_than_a_context_per_unit_leaves_some_unread(inputs: CascadeInputs, tmp_path: Path) -> None:
    units = rows(cascade(inputs, Costly(), replace(SETTINGS, share=0.1), tmp_path / "out"))
    assert units["n_read"].sum() == N_CONTEXTS // 10 < units.height
    assert units["value"].is_finite().all()


def test_contexts_in_which_a_unit_does_more_are_read_first_more_often(inputs: CascadeInputs, tmp_path: Path) -> None:
    first, last = [], []
    for seed in range(8):
        out = cascade(inputs, Costly(), replace(SETTINGS, seed=seed, compare=True), tmp_path / str(seed))
        simulations = read_table(out / "simulations.parquet", schemas.SIMULATIONS)
        for (_,), own in simulations.group_by("unit", maintain_order=True):
            largest = [max(acts) for acts in own["true_acts"].to_list()]
            first += largest[:2]
            last += largest[-2:]
    assert sum(first) > sum(last)


def test_everything_is_read_to_compare_and_the_cascade_stays_what_it_was(inputs: CascadeInputs, tmp_path: Path) -> None:
    alone = rows(cascade(inputs, Costly(), SETTINGS, tmp_path / "alone"))
    out = cascade(inputs, Costly(), replace(SETTINGS, compare=True), tmp_path / "compared")
    compared = rows(out)
    known = [name for name in schemas.CASCADE.names() if not name.startswith("full")]
    assert compared.select(known).equals(alone.select(known))
    # The tables are the truth, but that unit 4's has the same for both of its words.
    assert compared["full"].to_list()[:3] == pytest.approx([1.0] * 3)
    assert 0.9 < compared["full"].to_list()[3] < 1
    assert compared["full_prompt_tokens"].sum() == N_CONTEXTS * TOKENS
    found = read_cascade("toy", out, Bootstrap(20))
    assert [one.prompt_tokens for one in found.agreements] == [0, 4 * 4 * TOKENS, (N_CONTEXTS // 2) * TOKENS]
    text = page(CascadeFindings("command", ["about"], [found]))
    assert "| toy, 4 units, 0 answers failed | cheap scores |" in text


def test_a_unit_without_answers_is_counted_and_told_by_cheap_scores(inputs: CascadeInputs, tmp_path: Path) -> None:
    out = cascade(inputs, Costly(fails_on=1), replace(SETTINGS, compare=True), tmp_path / "out")
    failed = rows(out).filter(unit=1).row(0, named=True)
    assert failed["n_failed"] == failed["n_read"] > 0
    assert (failed["full"], failed["full_n_failed"]) == (None, 8)
    assert failed["value"] == failed["predicted"]
    assert open_artifact(out, "cascade").manifest.counts["n_failed"] == failed["n_failed"]


def test_a_rerun_gives_the_same_bytes(inputs: CascadeInputs, tmp_path: Path) -> None:
    made = [cascade(inputs, Costly(), SETTINGS, tmp_path / name) for name in ("one", "two")]
    for name in ("cascade.parquet", "simulations.parquet"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": 0.0}, r"cascade\.settings\.share=0\.0"),
        ({"n_first": 0}, r"cascade\.settings\.n_first=0"),
        ({"n_more": 0}, r"cascade\.settings\.n_more=0"),
        ({"split": "calibrate"}, r"cascade\.settings\.split='calibrate'"),
        ({"cheap": []}, r"cascade\.settings\.cheap"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        replace(SETTINGS, **changes)


def test_what_was_not_scored_or_explained_is_named(inputs: CascadeInputs, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cascade\.settings\.cheap=\['table', 'words'\]"):
        cascade(inputs, Costly(), replace(SETTINGS, cheap=[["table", "words"]]), tmp_path / "out")
    with pytest.raises(SettingError, match=r"cascade\.settings\.explainer='nobody'"):
        cascade(inputs, Costly(), replace(SETTINGS, explainer="nobody"), tmp_path / "out")
