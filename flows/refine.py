"""Improve low-scoring explanations with counterexamples, beside a control (DVC stage `refine`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, build_once, read_params, settings
from flows.entry import Measured, run_stage
from flows.paths import CONTEXTS, Place, of_target
from flows.reading import reader_of
from flows.spending import language_model_spending
from latentese.errors import SettingError
from latentese.reading.base import give_reader
from latentese.simulators.ensemble import EnsembleSimulator
from latentese.stages.refine import refine
from latentese.stages.refining import RefineInputs, RefineSettings


def prepare(params: Params, target: str, place: Place = of_target) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's refined explanations."""
    values = params["refinement"]
    reader = reader_of(params, target, place)
    arms = give_reader(build_all(values["arms"], "refinement.arms"), reader)
    name = values["simulator"]
    if name not in params["simulators"]:
        raise SettingError("refinement.simulator", name, f"one of {', '.join(params['simulators'])}")
    simulator = give_reader({name: build_once(params["simulators"][name], f"simulators.{name}")}, reader)[name]
    if isinstance(simulator, EnsembleSimulator):
        raise SettingError(
            "refinement.simulator", name, "a simulator that asks; an ensemble combines what others answer"
        )
    chosen = settings(RefineSettings, values["settings"], "refinement.settings")
    if chosen.explainer not in params["explainers"]:
        raise SettingError(
            "refinement.settings.explainer", chosen.explainer, f"one of {', '.join(params['explainers'])}"
        )
    folders = ("examples", "explanations", "scores")
    inputs = RefineInputs(CONTEXTS, **{folder: place(target, folder) for folder in folders})
    return partial(refine, inputs, simulator, arms, chosen, place(target, "refined"))


def main(target: str) -> Measured:
    """Run the stage for one target."""
    params = read_params()
    prepare(params, target)()
    return language_model_spending(params)


if __name__ == "__main__":
    run_stage("refine", main)
