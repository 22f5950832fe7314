"""Write the web page, the metrics, figures and curves of all targets (DVC stage `report`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

from flows.config import Params, read_params, settings
from flows.entry import run_with_params
from flows.paths import CONTEXTS, REPORT, of_target
from latentese.errors import SettingError
from latentese.report.inputs import ReportSettings, TargetArtifacts
from latentese.stages.report import report


def prepare(params: Params) -> Callable[[], Path]:
    """Build everything the stage needs; the call that is returned writes reports/run."""
    chosen = settings(ReportSettings, params["report"], "report")
    for setting, group in (("primary_explainer", "explainers"), ("primary_simulator", "simulators")):
        if (name := getattr(chosen, setting)) not in params[group]:
            raise SettingError(f"report.{setting}", name, f"one of {', '.join(params[group])}")
    refined, judge = params["refinement"]["settings"]["explainer"], params["refinement"]["simulator"]
    if chosen.primary_explainer == refined and chosen.primary_simulator != judge:
        allowed = f"{judge}, refinement.simulator: no other one simulates what is refined"
        raise SettingError("report.primary_simulator", chosen.primary_simulator, allowed)
    targets = {
        target: TargetArtifacts(**{field.name: of_target(target, field.name) for field in fields(TargetArtifacts)})
        for target in params["targets"]
    }
    hookpoints = {target: spec["hookpoint"] for target, spec in params["targets"].items()}
    return partial(report, CONTEXTS, targets, chosen, REPORT, hookpoints)


def main() -> None:
    """Run the stage."""
    prepare(read_params())()


if __name__ == "__main__":
    run_with_params(main)
