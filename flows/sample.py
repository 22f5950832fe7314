"""Choose each unit's examples in one streaming pass (DVC stage `sample`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flows.config import Params, read_params, settings
from flows.entry import run_stage
from flows.paths import CONTEXTS, activations_of, of_target
from latentese.examples.settings import SampleSettings
from latentese.stages.sample import sample


def prepare(params: Params, target: str) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes the target's examples."""
    chosen = settings(SampleSettings, params["examples"], "examples")
    activations, dictionary = activations_of(params, target), of_target(target, "dictionary")
    return partial(sample, CONTEXTS, activations, dictionary, chosen, of_target(target, "examples"))


def main(target: str) -> None:
    """Run the stage for one target."""
    prepare(read_params(), target)()


if __name__ == "__main__":
    run_stage("sample", main)
