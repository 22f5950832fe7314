"""The main job from start to end: say what it needs, fetch the models, run the pipeline, show what came of it.

make demo                                                   the defaults
make smoke                                                  toy size, in a copy of the project
python -m flows.demo [--sandbox FOLDER] [OVERRIDE ...]      anything else
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

from flows import fetch
from flows.config import read_params, write_params
from flows.entry import read_timings, run
from flows.paths import REPORT

NEEDS = """\
What this needs: 7 GB of free disk (models 3.4 GB, of which 1.3 GB are fetched, once; artifacts and cache 3 GB), \
{on_processor}
Free disk here: {free:.0f} GB. Models are kept in {cache}.
"""
ON_PROCESSOR = {
    "bfloat16": "8 GB of memory, and on 2 cores about a quarter of an hour once the models are there.",
    "float32": "12 GB of memory, and on 2 cores two to three hours once the models are there: this processor does not "
    "multiply bfloat16, so models run in float32. `make smoke` takes the same path at toy size in minutes.",
}
"""Time and memory of the demo, by what its models compute in."""


def main(*words: str) -> None:
    """Run the demo, or another configuration in the same way."""
    parser = argparse.ArgumentParser(prog="python -m flows.demo", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as dictionary.k=64")
    parser.add_argument("--sandbox", type=Path, help="run in a copy of the project in this folder")
    arguments = parser.parse_args(words)
    if arguments.sandbox:
        from flows.checkout import copy_checkout

        os.chdir(copy_checkout(Path.cwd(), arguments.sandbox))
    write_params(arguments.overrides)
    if not arguments.overrides:
        _say_needs()
    fetch.main()
    started = time.monotonic()
    _run_pipeline(arguments.overrides)
    _show(time.monotonic() - started)
    if not arguments.sandbox:
        print("Compare runs      make ui (says where the pages of MLflow and Prefect are)")
        print("Try next          source .venv/bin/activate && dvc exp run -S dictionary.k=16")


def _say_needs() -> None:
    from latentese.weights.cache import cache_dir
    from latentese.weights.devices import definite_dtype

    free, on_processor = shutil.disk_usage(Path.cwd()).free / 1e9, ON_PROCESSOR[definite_dtype("auto", "cpu")]
    print(NEEDS.format(free=free, cache=cache_dir(), on_processor=on_processor))


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
