"""What every entry point shares: one-line errors, an exit code, and the side file of timings."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flows.in_use import in_use
from flows.paths import PARAMS, TIMINGS
from latentese.errors import LatenteseError
from latentese.store.files import write_json

Measured = Mapping[str, Any]
"""What a stage spent beyond time, such as tokens of language models."""


def command_line(module: str, doc: str | None) -> ArgumentParser:
    """Give the parser of `python -m flows.<module>`, which keeps the lines of the module's docstring as help."""
    return ArgumentParser(
        prog=f"python -m flows.{module}", description=doc, formatter_class=RawDescriptionHelpFormatter
    )


def run(main: Callable[..., Measured | None]) -> None:
    """Run an entry point with the command line's words; end with exit code 2 and one line on a known error.

    The traceback of a known error is shown only when LATENTESE_TRACEBACK is set. SIGTERM ends it as Ctrl-C does, so
    that it takes its children along: stages, and a Prefect server of its own.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(*sys.argv[1:])
    except LatenteseError as error:
        if os.environ.get("LATENTESE_TRACEBACK"):
            raise
        sys.exit(_fail(str(error), 2))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; what was computed is kept, run again to go on", 130))


def run_stage(stage: str, main: Callable[..., Measured | None]) -> None:
    """Run a DVC stage's entry point and write what it took to `reports/timings/<stage>.json`.

    Timings are no part of any artifact: they differ from run to run.
    """
    name = "@".join([stage, *sys.argv[1:]])

    def measured(*words: str) -> None:
        start, cpu_start = time.monotonic(), time.process_time()
        spent = main(*words) or {}
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "peak_rss_mb": round(peak_mb)}
        write_json({"stage": name} | figures | dict(spent), TIMINGS / f"{name}.json")

    run_with_params(measured)


def run_with_params(main: Callable[..., Measured | None]) -> None:
    """Run an entry point that DVC notes what params.yaml says for: it says the same before and after."""

    def using(*words: str) -> None:
        with in_use(PARAMS):
            main(*words)

    run(using)


def read_timings(items: Collection[str]) -> dict[str, dict[str, Any]]:
    """Read the timings of every stage, by stage name.

    `items` are the present targets and hookpoints: files of those that a configuration dropped may lie there still.
    """
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(TIMINGS.glob("*.json"))}
    return {stage: timings for stage, timings in found.items() if "@" not in stage or stage.partition("@")[2] in items}


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
