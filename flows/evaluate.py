"""Measure what a target's dictionary is worth (DVC stage `evaluate`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, build_all, build_once, read_params
from flows.entry import run_stage
from flows.paths import CONTEXTS, activations_of, of_target
from latentese.stages.evaluate import evaluate
from latentese.subject.model import SubjectChoice


def prepare(params: Params, target: str) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's evaluation."""
    evaluations = build_all(params["evaluations"], "evaluations")
    source, capture = build_once(params["subject"], "subject"), params["capture"]
    subject = SubjectChoice(source, capture["dtype"], capture["device"])
    activations, dictionary = activations_of(params, target), of_target(target, "dictionary")
    return partial(evaluate, CONTEXTS, activations, dictionary, subject, evaluations, of_target(target, "evaluation"))


def main(target: str) -> None:
    """Run the stage for one target."""
    prepare(read_params(), target)()


if __name__ == "__main__":
    run_stage("evaluate", main)
