"""Simulate explanations on held-out examples, and score them (DVC stage `score`)."""

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
from latentese.stages.score import ScoreSettings, score


def prepare(params: Params, target: str, place: Place = of_target) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's scores."""
    simulators = give_reader(build_all(params["simulators"], "simulators"), reader_of(params, target, place))
    values = {**params["scoring"], "limits": params["scoring"]["limits"] or {}}  # null: every simulator scores all
    chosen = settings(ScoreSettings, values, "scoring")
    for name in set(chosen.limits) - set(simulators):
        raise SettingError(f"scoring.limits.{name}", chosen.limits[name], f"simulators are {', '.join(simulators)}")
    examples, explanations = place(target, "examples"), place(target, "explanations")
    return partial(score, CONTEXTS, examples, explanations, simulators, chosen, place(target, "scores"))


def main(target: str) -> Measured:
    """Run the stage for one target."""
    params = read_params()
    prepare(params, target)()
    return language_model_spending(params)


if __name__ == "__main__":
    run_stage("score", main)
