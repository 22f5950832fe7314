"""Offer the pipeline in the Prefect UI, to be started or scheduled there, for as long as this process runs.

    make ui                                                   the server, once
    python -m flows.deploy                                    then start runs in the UI, with Hydra overrides if wished
    python -m flows.deploy --cron "0 3 * * *" dictionary.k=64 every night at three

Runs work in this checkout, one at a time, and are the same as `python -m flows.pipeline` with the same overrides.
"""

from __future__ import annotations

from typing import Any

from flows.config import compose
from flows.entry import command_line, run
from flows.pipeline import pipeline
from flows.server import API, answers
from latentese.errors import LatenteseError, SettingError

NAME = "pipeline"


def main(*words: str) -> None:
    """Serve the pipeline until interrupted."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    options = deployment_options(*words)
    url = PREFECT_API_URL.value() or API
    if not answers(f"{url}/health"):
        raise LatenteseError(f"no Prefect server answers at {url}: run `make ui` first, or set PREFECT_API_URL")
    with temporary_settings({PREFECT_API_URL: url}):
        pipeline.serve(**options)


def deployment_options(*words: str) -> dict[str, Any]:
    """Read the command line; raises LatenteseError for overrides that do not compose and for a wrong schedule."""
    parser = command_line("deploy", __doc__)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="Hydra override, such as dictionary.k=64")
    parser.add_argument("--cron", help="when to run, as cron writes it; without it, runs are started in the UI")
    arguments = parser.parse_args(words)
    compose(arguments.overrides)
    if arguments.cron is not None:
        _check_cron(arguments.cron)
    name = " ".join(arguments.overrides) or NAME
    parameters = {"overrides": arguments.overrides, "name": name}
    # One at a time: stages of two runs would write the same artifacts.
    return {"name": NAME, "parameters": parameters, "cron": arguments.cron, "limit": 1, "print_starting_message": True}


def _check_cron(cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise SettingError("--cron", cron, 'five fields, such as "0 3 * * *"') from error


if __name__ == "__main__":
    run(main)
