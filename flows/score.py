"""Judge explanations on held-out examples, and score them (DVC stage `score`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, read_params, settings
from flows.entry import Measured, run_stage
from flows.paths import CONTEXTS, Place, of_target
from flows.reading import reader_of
from flows.spending import language_model_spending
from latentese.errors import SettingError
from latentese.reading.base import give_reader
from latentese.stages.score import check_judges, score
from latentese.stages.scoring import ScoreSettings


def prepare(params: Params, target: str, place: Place = of_target) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's scores."""
    simulators, scorers = (build_all(params[group], group) for group in ("simulators", "scorers"))
    for name in set(simulators) & set(scorers):
        raise SettingError(f"scorers.{name}", name, "another name: a simulator has it, and scores go by names")
    judges = give_reader(simulators | scorers, reader_of(params, target, place))
    chosen = score_settings(params)
    check_judges(judges, chosen)
    chosen.check_explainers(params["explainers"])
    examples, explanations = place(target, "examples"), place(target, "explanations")
    return partial(score, CONTEXTS, examples, explanations, judges, chosen, place(target, "scores"))


def score_settings(params: Params) -> ScoreSettings:
    """Read what is scored; limits that are null are none: every judge judges all."""
    return settings(ScoreSettings, {**params["scoring"], "limits": params["scoring"]["limits"] or {}}, "scoring")


def main(target: str) -> Measured:
    """Run the stage for one target."""
    params = read_params()
    prepare(params, target)()
    return language_model_spending(params)


if __name__ == "__main__":
    run_stage("score", main)
