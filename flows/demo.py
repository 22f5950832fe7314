"""The main job from start to end: say what it needs, fetch the models, run the pipeline, show what came of it.

make demo                                                   the defaults; experiment=small without bfloat16
make smoke                                                  toy size, in a copy of the project
python -m flows.demo [--sandbox FOLDER] [OVERRIDE ...]      anything else
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from flows import fetch
from flows.config import read_params, write_params
from flows.entry import command_line, read_timings, run
from flows.paths import REPORT

NEEDS = """\
What this needs: 7 GB of free disk (models 3.4 GB, of which 1.3 GB are fetched, once; artifacts and cache 3 GB), \
{on_processor}
Free disk here: {free:.0f} GB. Models are kept in {cache}.
"""
ON_PROCESSOR = {
    "bfloat16": "8 GB of memory, and on 2 cores about a quarter of an hour once the models are there.",
    "float32": "12 GB of memory, and on 2 cores just under an hour once the models are there.\n"
    "This processor does not multiply bfloat16: models run in float32, and experiment=small takes half of the text\n"
    "and a quarter of the units. `make smoke` takes the same path at toy size in minutes, and the whole demo,\n"
    "`python -m flows.demo study=demo`, two to three hours.",
}
"""Time and memory of the demo, by what its models compute in."""
OVERRIDES = {"bfloat16": [], "float32": ["experiment=small"]}
"""What the demo is there."""


def main(*words: str) -> None:
    """Run the demo, or another configuration in the same way."""
    parser = command_line("demo", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as dictionary.k=64")
    parser.add_argument("--sandbox", type=Path, help="run in a copy of the project in this folder")
    arguments = parser.parse_args(words)
    if arguments.sandbox:
        from flows.checkout import copy_checkout

        os.chdir(copy_checkout(Path.cwd(), arguments.sandbox))
    overrides = arguments.overrides or _own_overrides()
    write_params(overrides)
    fetch.main()
    started = time.monotonic()
    _run_pipeline(overrides)
    _show(time.monotonic() - started)
    if not arguments.sandbox:
        changed = "".join(f"-S {override} " for override in overrides)
        print("Compare runs      make ui (says where the pages of MLflow and Prefect are)")
        print(f"Try next          source .venv/bin/activate && dvc exp run {changed}-S dictionary.k=16")


def _own_overrides() -> list[str]:
    """Give the demo's own overrides on this processor, and say what it needs."""
    from latentese.weights.cache import cache_dir
    from latentese.weights.devices import definite_dtype

    dtype, free = definite_dtype("auto", "cpu"), shutil.disk_usage(Path.cwd()).free / 1e9
    print(NEEDS.format(free=free, cache=cache_dir(), on_processor=ON_PROCESSOR[dtype]))
    return OVERRIDES[dtype]


def _run_pipeline(overrides: list[str]) -> None:
    from flows import pipeline

    pipeline.main(*overrides)


def _show(seconds: float) -> None:
    from rich.console import Console

    from latentese.report.terminal import summary

    console, params = Console(), read_params()
    console.print(summary(REPORT / "metrics.json", read_timings({*params["targets"], *params["hookpoints"]})))
    console.print(f"The pipeline took {seconds / 60:.1f} minutes this time.")
    console.print(f"Read the report   {(REPORT / 'index.html').resolve().as_uri()}", soft_wrap=True)


if __name__ == "__main__":
    run(main)
