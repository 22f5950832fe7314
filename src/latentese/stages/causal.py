"""What stage `score` does for scorers that put simulations into the subject: hand them those that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.scores import FITTED_ON
from latentese.records import Example, Explanation, Split
from latentese.scorers.base import CausalScorer
from latentese.stages.judging import SplitExamples
from latentese.stages.scoring import SIMULATED_KINDS, ScoreSettings, tasks_of


def check_causal(scorers: Mapping[str, CausalScorer], simulators: Sequence[str], settings: ScoreSettings) -> None:
    """Raise SettingError for a simulator that the study does not have, or that has no scale to be fitted on."""
    scored_by: dict[str, str] = {}
    for name, scorer in scorers.items():
        for simulator in scorer.simulators:
            if scored_by.setdefault(simulator, name) != name:
                allowed = f"others: {scored_by[simulator]} scores it already"
                raise SettingError(f"scorers.{name}.simulators", simulator, allowed)
            if simulator not in simulators:
                raise SettingError(f"scorers.{name}.simulators", simulator, f"some of {', '.join(simulators)}")
            settings.check_fitted(simulator, name)
        if FITTED_ON not in settings.splits:
            raise SettingError("scoring.splits", list(settings.splits), f"{FITTED_ON} among them, to fit {name} on")


def measure(
    scorers: Mapping[str, CausalScorer],
    simulations: pl.DataFrame,
    reader: SplitExamples,
    written: Sequence[Explanation],
    settings: ScoreSettings,
) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Let every scorer measure simulations, right and wrong, of the examples it chooses within its limit.

    Gives schema ABLATIONS, and for the manifest how many were measured by each and how many had no simulation.
    """
    tables, counts = [schemas.ABLATIONS.to_frame()], {}
    for name, scorer in scorers.items():
        own = simulations.filter(pl.col("simulator").is_in(list(scorer.simulators)))
        table = scorer.measure(_given(own, _chosen(scorer, own, reader, written, settings)))
        n_failed = table["simulated"].null_count()
        n_judged = table.height - n_failed
        counts[name] = {"n_units": table["unit"].n_unique(), "n_judged": n_judged, "n_failed": n_failed}
        tables.append(table)
    return pl.concat(tables), counts


def _chosen(
    scorer: CausalScorer,
    simulations: pl.DataFrame,
    reader: SplitExamples,
    written: Sequence[Explanation],
    settings: ScoreSettings,
) -> set[tuple[str, int]]:
    """Choose explanations and contexts among those that its simulators were asked about: they may be limited, too."""
    n_contexts = settings.limit_of(scorer.name).n_contexts
    asked = set(simulations.select("unit", "context").iter_rows())
    explained = set(simulations["explanation"])

    def pick(unit: int, split: Split) -> list[Example]:
        if split == FITTED_ON:
            return []
        examples = reader.of(unit, split, SIMULATED_KINDS)
        return scorer.choose([e for e in examples if (unit, e.context.context) in asked])[:n_contexts]

    tasks = tasks_of(scorer.name, [e for e in written if e.explanation in explained], {}, pick, settings)
    return {(task.question.explanation, example.context.context) for task in tasks for example in task.examples}


def _given(own: pl.DataFrame, chosen: set[tuple[str, int]]) -> pl.DataFrame:
    """Select the simulations of chosen contexts, and those that their scales are fitted on; units ascend."""
    key = own.select("explanation", "context")
    scored = own.join(
        pl.DataFrame(sorted(chosen), schema=key.schema, orient="row"),
        on=key.columns,
        how="semi",
        maintain_order="left",
    )
    fitted_on = own.filter(pl.col("split") == FITTED_ON, pl.col("explanation").is_in(scored["explanation"].to_list()))
    return pl.concat([fitted_on, scored]).sort("unit", maintain_order=True)
