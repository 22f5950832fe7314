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
8 GB of memory, and on 2 cores about a quarter of an hour once the models are there.
Free disk here: {free:.0f} GB. Models are kept in {cache}.
"""


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

    print(NEEDS.format(free=shutil.disk_usage(Path.cwd()).free / 1e9, cache=cache_dir()))


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
