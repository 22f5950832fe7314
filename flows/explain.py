"""Write an explanation of each of a target's units (DVC stage `explain`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, read_params, settings
from flows.entry import Measured, run_stage
from flows.paths import CONTEXTS, of_target
from flows.spending import language_model_spending
from latentese.stages.explain import ExplainSettings, explain


def prepare(params: Params, target: str) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's explanations."""
    explainers = build_all(params["explainers"], "explainers")
    chosen = settings(ExplainSettings, params["explaining"], "explaining")
    return partial(
        explain, CONTEXTS, of_target(target, "examples"), explainers, chosen, of_target(target, "explanations")
    )


def main(target: str) -> Measured:
    """Run the stage for one target."""
    params = read_params()
    prepare(params, target)()
    return language_model_spending(params)


if __name__ == "__main__":
    run_stage("explain", main)
