"""Write an explanation of each of a target's units (DVC stage `explain`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, read_params, settings
from flows.entry import Measured, run_stage
from flows.paths import CONTEXTS, Place, of_target
from flows.reading import reader_of
from flows.spending import language_model_spending
from latentese.explainers.base import ForTarget
from latentese.reading.base import give_reader
from latentese.stages.explain import ExplainSettings, check_explainers, explain


def prepare(params: Params, target: str, place: Place = of_target) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's explanations."""
    built = build_all(params["explainers"], "explainers")
    known = {
        name: each.for_target(target, params["targets"]) if isinstance(each, ForTarget) else each
        for name, each in built.items()
    }
    explainers = give_reader(known, reader_of(params, target, place))
    chosen = settings(ExplainSettings, params["explaining"], "explaining")
    check_explainers(explainers, chosen)
    return partial(explain, CONTEXTS, place(target, "examples"), explainers, chosen, place(target, "explanations"))


def main(target: str) -> Measured:
    """Run the stage for one target."""
    params = read_params()
    prepare(params, target)()
    return language_model_spending(params)


if __name__ == "__main__":
    run_stage("explain", main)
