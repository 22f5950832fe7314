"""Bring a sweep's activations up to date, through the pipeline's own stages."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flows.checkout import copy_checkout
from flows.config import write_params
from flows.pipeline import BUSY, BUSY_SECONDS, DVC, VERDICTS, failure, run_logged
from flows.places import copy_of, place_of
from flows.plan import Plan
from latentese.errors import LatenteseError


def bring_up_to_date(plan: Plan, source: str, overrides: Sequence[str], threads: int | None) -> str:
    """Run what is stale of the pipeline up to the source's activations; returns `ran`, `restored` or `unchanged`."""
    spec = plan.sources[source]
    if spec.activations:
        return "unchanged"
    folder: Path | None = None
    if spec.overrides:
        folder = copy_checkout(Path.cwd(), copy_of(plan, source))
        _checked(run_logged([sys.executable, "-m", "flows.params", *overrides, *spec.overrides], threads, folder))
    else:
        write_params(overrides)
    stage = f"collect@{place_of(plan, source).activations.name}"
    code, lines = run_logged([*DVC, "repro", stage], threads, folder)
    while code != 0 and any(BUSY in line for line in lines):
        time.sleep(BUSY_SECONDS)
        code, lines = run_logged([*DVC, "repro", stage], threads, folder)
    said = _checked((code, lines))
    return next((verdict for verdict in ("ran", "restored") if any(map(VERDICTS[verdict].match, said))), "unchanged")


def _checked(ended: tuple[int, list[str]]) -> list[str]:
    code, lines = ended
    if code != 0:
        raise LatenteseError(failure(lines, code))
    return lines
