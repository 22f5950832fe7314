"""Measure what a target's dictionary is worth (DVC stage `evaluate`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, read_params, settings
from flows.entry import run_stage
from flows.paths import CONTEXTS, activations_of, of_target
from latentese.evaluation.reconstruction import EvaluateSettings
from latentese.stages.evaluate import evaluate


def prepare(params: Params, target: str) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's evaluation."""
    chosen = settings(EvaluateSettings, params["evaluation"], "evaluation")
    activations, dictionary = activations_of(params, target), of_target(target, "dictionary")
    return partial(evaluate, CONTEXTS, activations, dictionary, chosen, of_target(target, "evaluation"))


def main(target: str) -> None:
    """Run the stage for one target."""
    prepare(read_params(), target)()


if __name__ == "__main__":
    run_stage("evaluate", main)
